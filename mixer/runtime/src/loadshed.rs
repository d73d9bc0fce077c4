//! When there is too much to do, some of it is refused at once (`spec 02` §9.9).
//!
//! Pure: the time is an argument, as the duration since any fixed moment.

use std::time::Duration;

/// What happens to a request that is too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody looks.
    #[default]
    Disabled,
    /// It is served, and the log says so.
    LogOnly,
    /// It is refused.
    Enforce,
}

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Mean time that a request may take; zero: any.
    pub average_latency: Duration,
    /// Samples of latency that are taken into account each second at most.
    pub samples_per_second: f64,
    /// After this long a sample counts half.
    pub half_life: Duration,
    /// Requests, and sets of reports, for each second; zero: any number.
    pub requests_per_second: f64,
    /// So many may come at once. Zero refuses everything where there is a rate.
    pub burst: u32,
}

/// Why a request is too much.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Overload {
    /// Requests take too long.
    #[error("requests take {average:?} on average, more than {limit:?}")]
    Latency {
        /// What they take.
        average: Duration,
        /// What they may take.
        limit: Duration,
    },
    /// There are too many.
    #[error("there are more than {limit} requests per second")]
    Rate {
        /// How many there may be.
        limit: f64,
    },
}

/// Watches how much there is to do.
#[derive(Clone, Debug)]
pub struct LoadShedder {
    limits: Limits,
    latency: Average,
    bucket: Bucket,
    /// When a sample is taken again.
    next_sample: Duration,
}

/// A mean in which what is older counts less.
#[derive(Clone, Copy, Debug)]
struct Average {
    half_life: Duration,
    /// Seconds, and when they were measured.
    value: Option<(f64, Duration)>,
}

/// Tokens that come steadily, and are kept up to a number.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            average_latency: Duration::ZERO,
            samples_per_second: f64::INFINITY,
            half_life: Duration::from_secs(1),
            requests_per_second: 0.0,
            burst: 0,
        }
    }
}

// === impl LoadShedder ===

impl LoadShedder {
    /// With these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let burst = f64::from(limits.burst);
        Self {
            latency: Average {
                half_life: limits.half_life,
                value: None,
            },
            bucket: Bucket {
                rate: limits.requests_per_second,
                burst,
                tokens: burst,
                filled: Duration::ZERO,
            },
            limits,
            next_sample: Duration::ZERO,
        }
    }

    /// A request of this cost comes: 1 for Check, the number of sets for Report.
    ///
    /// # Errors
    ///
    /// Why it is too much. It costs nothing then.
    pub fn admit(&mut self, cost: f64, now: Duration) -> Result<(), Overload> {
        let limit = self.limits.average_latency;
        if !limit.is_zero() {
            let average = Duration::try_from_secs_f64(self.latency.get(now)).unwrap_or(Duration::MAX);
            if average > limit {
                return Err(Overload::Latency { average, limit });
            }
        }
        if self.limits.requests_per_second > 0.0 && !self.bucket.take(cost, now) {
            return Err(Overload::Rate {
                limit: self.limits.requests_per_second,
            });
        }
        Ok(())
    }

    /// A request was served in this time.
    pub fn served(&mut self, took: Duration, now: Duration) {
        if self.limits.average_latency.is_zero() || now < self.next_sample {
            return;
        }
        let pause = 1.0 / self.limits.samples_per_second;
        self.next_sample = now + Duration::try_from_secs_f64(pause).unwrap_or_default();
        self.latency.add(took.as_secs_f64(), now);
    }
}

// === impl Average ===

impl Average {
    /// Without requests the mean fades, so that a server that refuses everything begins again.
    fn get(&self, now: Duration) -> f64 {
        self.value
            .map_or(0.0, |(value, at)| value * self.weight(now.saturating_sub(at)))
    }

    fn add(&mut self, sample: f64, now: Duration) {
        let value = match self.value {
            None => sample,
            Some((value, at)) => {
                // Samples of one moment would count for nothing: each replaces at least a tenth.
                let weight = self.weight(now.saturating_sub(at)).min(0.9);
                value * weight + sample * (1.0 - weight)
            }
        };
        self.value = Some((value, now));
    }

    fn weight(&self, age: Duration) -> f64 {
        if self.half_life.is_zero() {
            return 0.0;
        }
        0.5_f64.powf(age.as_secs_f64() / self.half_life.as_secs_f64())
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, cost: f64, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_too_much_without_limits() {
        let mut shedder = LoadShedder::new(Limits::default());
        for _ in 0..1000 {
            shedder.served(Duration::from_secs(100), MS);
            assert_eq!(shedder.admit(1000.0, MS), Ok(()));
        }
    }

    #[test]
    fn spec_02_9_9_requests_beyond_the_rate_are_too_many_and_reports_cost_their_sets() {
        let mut shedder = LoadShedder::new(Limits {
            requests_per_second: 10.0,
            burst: 5,
            ..Limits::default()
        });
        let now = Duration::from_secs(1);
        assert_eq!(shedder.admit(3.0, now), Ok(()));
        assert_eq!(shedder.admit(3.0, now), Err(Overload::Rate { limit: 10.0 }));
        assert_eq!(shedder.admit(2.0, now), Ok(()), "what is refused costs nothing");
        assert!(shedder.admit(1.0, now + 99 * MS).is_err());
        assert_eq!(shedder.admit(1.0, now + 100 * MS), Ok(()));
        let much_later = now + Duration::from_secs(100);
        assert!(
            shedder.admit(6.0, much_later).is_err(),
            "more than the burst never passes"
        );
        assert_eq!(shedder.admit(5.0, much_later), Ok(()));
    }

    #[test]
    fn spec_02_9_2_no_burst_refuses_everything() {
        let mut shedder = LoadShedder::new(Limits {
            requests_per_second: 10.0,
            ..Limits::default()
        });
        assert!(shedder.admit(1.0, Duration::from_secs(100)).is_err());
    }

    #[test]
    fn spec_02_9_9_slow_requests_shed_until_they_are_forgotten() {
        let mut shedder = LoadShedder::new(Limits {
            average_latency: 100 * MS,
            ..Limits::default()
        });
        let mut now = Duration::from_secs(1);
        for _ in 0..50 {
            assert_eq!(shedder.admit(1.0, now), Ok(()));
            shedder.served(10 * MS, now);
            now += 10 * MS;
        }
        for _ in 0..50 {
            shedder.served(400 * MS, now);
            now += 10 * MS;
        }
        assert!(matches!(
            shedder.admit(1.0, now),
            Err(Overload::Latency { average, limit }) if average > limit
        ));
        assert_eq!(shedder.admit(1.0, now + Duration::from_secs(3)), Ok(()));
    }

    #[test]
    fn spec_02_9_2_samples_are_taken_at_most_so_often() {
        let mut shedder = LoadShedder::new(Limits {
            average_latency: 100 * MS,
            samples_per_second: 1.0,
            ..Limits::default()
        });
        let now = Duration::from_secs(1);
        shedder.served(10 * MS, now);
        for _ in 0..100 {
            shedder.served(Duration::from_secs(10), now + 500 * MS);
        }
        assert_eq!(shedder.admit(1.0, now + 500 * MS), Ok(()));
        shedder.served(Duration::from_secs(10), now + 1001 * MS);
        assert!(shedder.admit(1.0, now + 1001 * MS).is_err());
    }
}
