//! What the caller says about its trace, in either form of `b3`.

use tonic::metadata::MetadataMap;

/// What the caller says about its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: Option<String>,
    /// The call is a part of this span.
    pub(super) span: Option<String>,
    /// Whether it is traced; `None`: that is left to whoever gets it.
    sampled: Option<bool>,
}

// === impl Context ===

impl Context {
    pub(super) fn of(metadata: &MetadataMap) -> Self {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        if let Some(single) = text("b3") {
            return Self::single(single);
        }
        let sampled =
            text("x-b3-sampled").map(|sampled| sampled == "1" || sampled.eq_ignore_ascii_case("true"));
        let debug = text("x-b3-flags") == Some("1");
        Self::new(
            text("x-b3-traceid"),
            text("x-b3-spanid"),
            if debug { Some(true) } else { sampled },
        )
    }

    /// `<trace>-<span>[-<sampled>[-<parent>]]`, or `<sampled>` alone.
    fn single(text: &str) -> Self {
        let mut parts = text.split('-');
        let (trace, span, state) = (parts.next(), parts.next(), parts.next());
        if span.is_none() {
            return Self::new(None, None, trace.map(is_sampled));
        }
        Self::new(trace, span, state.map(is_sampled))
    }

    /// Without a valid id of the trace that of a span has no meaning.
    fn new(trace: Option<&str>, span: Option<&str>, sampled: Option<bool>) -> Self {
        let trace = trace.filter(|id| is_id(id, &[16, 32]));
        let span = span.filter(|id| trace.is_some() && is_id(id, &[16]));
        Self {
            trace: trace.map(str::to_ascii_lowercase),
            span: span.map(str::to_ascii_lowercase),
            sampled,
        }
    }

    /// Whether the call is traced. Where the caller leaves that to us it is for this part of the traces, the same ones at
    /// every Mixer; a call without a trace is not.
    pub(super) fn is_sampled(&self, rate: f64) -> bool {
        match (self.sampled, &self.trace) {
            (Some(sampled), _) => sampled,
            (None, None) => false,
            (None, Some(trace)) => {
                let low = trace.get(trace.len().saturating_sub(8)..).unwrap_or_default();
                let place = u32::from_str_radix(low, 16).unwrap_or(u32::MAX);
                f64::from(place) < rate * (f64::from(u32::MAX) + 1.0)
            }
        }
    }
}

/// `d` asks for all that is known.
fn is_sampled(state: &str) -> bool {
    matches!(state, "1" | "d")
}

fn is_id(id: &str, lengths: &[usize]) -> bool {
    lengths.contains(&id.len())
        && id.bytes().all(|digit| digit.is_ascii_hexdigit())
        && id.bytes().any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
    const SPAN: &str = "a2fb4a1d1a96d312";

    fn of(headers: &[(&'static str, &str)]) -> Context {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        Context::of(&metadata)
    }

    #[test]
    fn spec_02_9_2_only_what_b3_says_is_traced() {
        let single = |state: &str| of(&[("b3", &format!("{TRACE}-{SPAN}{state}"))]);
        for (context, sampled) in [
            (of(&[]), false),
            (of(&[("x-b3-sampled", "1")]), true),
            (of(&[("x-b3-sampled", "true")]), true),
            (of(&[("x-b3-sampled", "0")]), false),
            (of(&[("x-b3-flags", "1")]), true),
            (of(&[("b3", "1")]), true),
            (of(&[("b3", "0")]), false),
            (of(&[("b3", "d")]), true),
            (single("-1"), true),
            (single("-d"), true),
            (single("-0"), false),
            (single("-0-05e3ac9a4f6e3b90"), false),
        ] {
            for rate in [0.0, 1.0] {
                assert_eq!(context.is_sampled(rate), sampled, "{context:?}");
            }
        }
    }

    #[test]
    fn spec_02_9_2_the_rate_decides_where_the_caller_does_not() {
        let left = of(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)]);
        assert_eq!(left, of(&[("b3", &format!("{TRACE}-{SPAN}"))]));
        assert_eq!(left.trace.as_deref(), Some(TRACE));
        assert_eq!(left.span.as_deref(), Some(SPAN));
        // 0x53bb6124 is 0.327 of all.
        for (rate, sampled) in [(0.0, false), (0.3, false), (0.35, true), (1.0, true)] {
            assert_eq!(left.is_sampled(rate), sampled, "{rate}");
        }
    }

    #[test]
    fn ids_that_are_none_are_left_out() {
        for trace in ["", "x", "0000000000000000", "463ac35c9f6413ag"] {
            let context = of(&[
                ("x-b3-traceid", trace),
                ("x-b3-spanid", SPAN),
                ("x-b3-sampled", "1"),
            ]);
            assert_eq!((context.trace, context.span), (None, None), "{trace}");
        }
    }
}
