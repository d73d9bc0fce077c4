//! What is called, with which configuration, and what 1.1.17 needed for it.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use mixer_attribute::baseline::record;
use mixer_attribute::encode;
use mixer_attribute::{QuotaParams, Semantics, dictionary};
use prost::Message as _;

/// Different records.
const RECORDS: usize = 1000;

const WORDS: u32 = dictionary::LEN as u32;

/// The quota of configuration `full`.
const QUOTA: &str = "requestcount";

/// The server keeps answers (`--numCheckCacheEntries`).
const CACHE: &[&str] = &["--numCheckCacheEntries=1500000"];

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Check,
    /// A Check that asks for one of a quota as well.
    CheckQuota,
    /// A report whose records have words of their own, as 1.1.17 was measured.
    Report,
    /// A report whose records share their words, as sidecars send it.
    ReportSharedWords,
}

/// A configuration, calls, and their number at a time.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) config: &'static str,
    pub(super) flags: &'static [&'static str],
    pub(super) call: Call,
    /// Records of a call.
    pub(super) batch: usize,
    pub(super) in_flight: usize,
    /// What 1.1.17 needed.
    pub(super) before: Option<Before>,
}

/// Figures of Istio 1.1.17 (`spec 07` §2.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Calls per second.
    pub(super) rate: u32,
    /// Latency, in milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// CPU, in milliseconds per 1000 records (a Check is one).
    pub(super) cpu: f64,
    /// Memory, in MB.
    pub(super) memory: u32,
}

const fn case(
    config: &'static str,
    flags: &'static [&'static str],
    call: Call,
    (batch, in_flight): (usize, usize),
    (rate, p50, p99, cpu, memory): (u32, f64, f64, f64, u32),
) -> Case {
    Case {
        config,
        flags,
        call,
        batch,
        in_flight,
        before: Some(Before {
            rate,
            p50,
            p99,
            cpu,
            memory,
        }),
    }
}

/// The cases of `spec 07` §2.2.
pub(super) const CASES: &[Case] = &[
    case("none", &[], Call::Check, (1, 16), (13_086, 0.95, 6.135, 74.0, 54)),
    case(
        "none",
        &[],
        Call::Report,
        (1, 16),
        (10_819, 1.108, 6.566, 73.0, 57),
    ),
    case(
        "none",
        &[],
        Call::Report,
        (100, 16),
        (587, 24.781, 79.853, 19.0, 72),
    ),
    case("full", &[], Call::Check, (1, 1), (4_517, 0.193, 0.707, 187.0, 54)),
    case(
        "full",
        &[],
        Call::Check,
        (1, 16),
        (14_058, 0.901, 4.747, 92.0, 59),
    ),
    case(
        "full",
        &[],
        Call::Check,
        (1, 64),
        (15_261, 3.571, 14.472, 72.0, 70),
    ),
    case(
        "full",
        &[],
        Call::CheckQuota,
        (1, 16),
        (8_293, 1.505, 8.09, 113.0, 62),
    ),
    case(
        "full",
        CACHE,
        Call::Check,
        (1, 16),
        (11_465, 1.079, 6.412, 75.0, 58),
    ),
    case(
        "full",
        CACHE,
        Call::Check,
        (1, 64),
        (11_810, 4.555, 17.603, 67.0, 70),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (1, 1),
        (2_571, 0.299, 1.461, 372.0, 74),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (1, 16),
        (6_842, 1.848, 9.195, 197.0, 81),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (1, 64),
        (8_968, 5.791, 23.239, 172.0, 90),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (100, 1),
        (101, 8.298, 20.121, 125.0, 82),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (100, 16),
        (203, 69.385, 194.862, 92.0, 121),
    ),
    case(
        "prom",
        &[],
        Call::Report,
        (100, 64),
        (201, 234.229, 923.314, 96.0, 252),
    ),
    Case {
        config: "prom",
        flags: &[],
        call: Call::ReportSharedWords,
        batch: 100,
        in_flight: 16,
        // One run; its latency was not noted.
        before: Some(Before {
            rate: 125,
            p50: f64::NAN,
            p99: f64::NAN,
            cpu: 155.0,
            memory: 0,
        }),
    },
    case(
        "promstdio",
        &[],
        Call::Report,
        (1, 16),
        (4_243, 2.941, 17.27, 242.0, 86),
    ),
    case(
        "promstdio",
        &[],
        Call::Report,
        (100, 16),
        (63, 219.396, 542.708, 147.0, 156),
    ),
];

/// The requests of a case, as they are sent.
pub(super) fn requests(case: &Case) -> Result<Vec<Bytes>> {
    match case.call {
        Call::Check => Ok(checks(&BTreeMap::new())),
        Call::CheckQuota => {
            let params = QuotaParams {
                amount: 1,
                best_effort: true,
            };
            Ok(checks(&BTreeMap::from([(QUOTA.to_owned(), params)])))
        }
        Call::Report => firsts(case).map(|first| own_words(first, case.batch)).collect(),
        Call::ReportSharedWords => firsts(case)
            .map(|first| shared_words(first, case.batch))
            .collect(),
    }
}

/// The first record of each request: 1000 requests of one record, 100 of more.
fn firsts(case: &Case) -> impl Iterator<Item = usize> {
    (0..RECORDS).step_by(if case.batch == 1 { 1 } else { 10 })
}

fn checks(quotas: &BTreeMap<String, QuotaParams>) -> Vec<Bytes> {
    (0..RECORDS)
        .map(|k| {
            let request = encode::check_request(&record(k, false), quotas, format!("check-{k}"), WORDS);
            request.encode_to_vec().into()
        })
        .collect()
}

fn own_words(first: usize, batch: usize) -> Result<Bytes> {
    let mut report = mesh_api::istio::mixer::v1::ReportRequest::default();
    for k in first..first + batch {
        let one = encode::report_request(&[record(k % RECORDS, true)], Semantics::Independent, WORDS)?;
        report.repeated_attributes_semantics = one.repeated_attributes_semantics;
        report.global_word_count = one.global_word_count;
        report
            .attributes
            .extend(one.attributes.into_iter().map(|mut set| {
                set.words.clone_from(&one.default_words);
                set
            }));
    }
    Ok(report.encode_to_vec().into())
}

fn shared_words(first: usize, batch: usize) -> Result<Bytes> {
    let records: Vec<_> = (first..first + batch)
        .map(|k| record(k % RECORDS, true))
        .collect();
    let report = encode::report_request(&records, Semantics::Independent, WORDS)?;
    Ok(report.encode_to_vec().into())
}

// === impl Case ===

impl Case {
    /// What options select it by.
    pub(super) fn name(&self) -> String {
        let call = match (self.call, self.flags.is_empty()) {
            (Call::Check, true) => "check",
            (Call::Check, false) => "check-cached",
            (Call::CheckQuota, _) => "checkquota",
            (Call::Report, _) => "report",
            (Call::ReportSharedWords, _) => "report-shared-words",
        };
        format!("{}/{call}/{}x{}", self.config, self.batch, self.in_flight)
    }

    /// Whether each record is in a counter at the end.
    pub(super) fn counted(&self) -> bool {
        self.config.starts_with("prom")
    }
}
