"""The `userspace` backend: ESP (RFC 4303) in tunnel mode over a TUN device.

From the wire inwards: `transport` and `raw` carry ESP packets, `inbound` opens them and `coalesce`
(or `rows_in`) joins them for the TUN device; outwards `outbound` reads the device, `segment` (or
`rows_out`) cuts what came, `association` seals. `datapath` holds the tables that both sides look
into, by value, so that it can live in a process of its own; `backend` is the control side.
"""
