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
    /// `PILOT_TRACE_SAMPLING`: how many of the requests that come without a decision are traced (`TEL-12`).
    pub trace_sampling: TraceSampling,
}

/// A share of requests, in hundredths of a percent; all of them unless somebody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceSampling(u16);

// === impl TraceSampling ===

impl TraceSampling {
    /// Every request.
    pub const ALL: Self = Self(10_000);

    /// A share in percent, from 0 to 100, rounded to what Envoy tells apart; `None` outside.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "100 percent are 10,000 hundredths"
    )]
    pub fn from_percent(percent: f64) -> Option<Self> {
        (0.0..=100.0)
            .contains(&percent)
            .then(|| Self((percent * 100.0).round() as u16))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Default for TraceSampling {
    fn default() -> Self {
        Self::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tel_12_a_share_has_two_digits_behind_the_point() {
        for (percent, kept) in [
            (0.0, Some(0.0)),
            (1.0, Some(1.0)),
            (0.126, Some(0.13)),
            (100.0, Some(100.0)),
            (100.1, None),
            (-0.1, None),
            (f64::NAN, None),
        ] {
            let sampling = TraceSampling::from_percent(percent);
            assert_eq!(sampling.map(TraceSampling::percent), kept, "{percent}");
        }
    }
}
