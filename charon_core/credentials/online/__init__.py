"""What is asked of servers about certificates: revocation lists, OCSP, certificates by URL."""
