"""The `userspace` backend: ESP (RFC 4303) in tunnel mode over a TUN device.

One loop reads the device, the IKE socket and `raw`; `waiter` says which of them is ready. From the
wire inwards: the IKE socket or `raw` bring ESP packets, `inbound` opens them, `coalesce`
(or `rows_in`, for whole trains) joins them for the device. Outwards: `outbound` reads the device,
`segment` (or `rows_out`) cuts what came, `association` seals it, `transport` fills trains with it.

`tables` hold the SAs and policies that both directions look into, by value, and `datapath` is all
of this as one thing, so that it can live in a process of its own. `backend` is the control side;
`host` and `routes` are what it wants of the system. `guard` (with `guard_rules` and `pairs`, kept
by `guard_keeper`) drops what comes or goes around all of this though a policy covers it.
"""
