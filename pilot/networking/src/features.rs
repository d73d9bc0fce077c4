//! Switches of the process that change what is generated (P6.5).

/// What operators switch by environment variables of `pilot-discovery`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// `PILOT_ENABLE_FALLTHROUGH_ROUTE`: requests to unknown hosts on a known HTTP port follow the outbound traffic
    /// policy (`R-OB-2`) instead of being answered 404.
    pub fallthrough_route: bool,
    /// `PILOT_ENABLE_LOCALITY_LOAD_BALANCING`: endpoints that Pilot serves are balanced by locality (P10.6).
    pub locality_load_balancing: bool,
    /// `PILOT_HTTP10`: clients of all proxies may speak HTTP/1.0 (P12.5).
    pub http_10: bool,
}
