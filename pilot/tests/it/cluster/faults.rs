//! Pods that come and go while the watches of an API server fail (pain 6).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use mesh_testing::kube::{ApiProxy, ApiServer, Fault};

use super::Cluster;
use super::churn::{Churn, Random, SERVICES, service, until_equal};
use crate::galley::Galley;
use crate::pilot::Pilot;

const KINDS: [&str; 3] = ["pods", "endpointslices", "services"];

/// Pods that change in a round, on average; each round has a fault.
const CHANGES: usize = 16;

/// Rounds after which everything is compared.
const COMPARED: usize = 6;

/// What came of a seed.
struct Outcome {
    changes: usize,
    rounds: usize,
    /// How long it took until everything was equal after the last change and the last fault, each time.
    equal_after: Vec<Duration>,
}

/// Seeds, and changes for each of them. A seed that is named is the only one.
fn extent() -> (RangeInclusive<u64>, usize) {
    let (seeds, changes) = match std::env::var_os("MESH_TEST_FULL") {
        Some(_) => (1..=20, 10_000),
        None => (1..=2, 200),
    };
    let named = std::env::var("MESH_TEST_SEED").ok();
    let named = named.map(|seed| seed.parse().expect("MESH_TEST_SEED is a number"));
    (named.map_or(seeds, |seed| seed..=seed), changes)
}

/// Pods come and go, often at an address that another one had, while watches are cut, held, repeated, refused and forgotten: in
/// the end Pilot and its proxies have the endpoints that the server has.
#[tokio::test(flavor = "multi_thread")]
async fn p4_2_pain_6_random_changes_with_faulty_watches_leave_nothing_behind() {
    let (seeds, changes) = extent();
    for seed in seeds {
        let began = Instant::now();
        let cluster = Cluster::shared("faults").await;
        let churn = Churn::start(&cluster, seed).await;
        let proxy = ApiProxy::start(&cluster.access).await.unwrap();
        let galley = Galley::start();
        let pilot = cluster.pilot_as(proxy.access(), &galley, &[]).await;
        pilot.ready().await;
        let mut envoy = pilot.settled(&cluster.sidecar("sleep-0", "10.7.5.77")).await;
        // The proxy answers all the time, so that what it has can be compared.
        let outcome = tokio::select! {
            outcome = with_faults(churn, &proxy, &pilot, changes) => outcome,
            () = envoy.follow() => unreachable!("it never ends"),
        };
        let expected = until_equal(&cluster, &pilot).await;
        for number in 0..SERVICES {
            let held = envoy.endpoints(&cluster.outbound(80, &service(number)));
            let expected: Vec<&String> = expected[&cluster.host(&service(number))].keys().collect();
            assert_eq!(
                held.iter().collect::<BTreeSet<_>>(),
                expected.into_iter().collect()
            );
        }
        println!("seed {seed}: {}", outcome.told(began.elapsed(), &proxy));
        // A server forgets what was every few minutes.
        ApiServer::shared().await.unwrap().compact().await.unwrap();
    }
}

async fn with_faults(mut churn: Churn<'_>, proxy: &ApiProxy, pilot: &Pilot, changes: usize) -> Outcome {
    let mut outcome = Outcome {
        changes: 0,
        rounds: 0,
        equal_after: Vec::new(),
    };
    while outcome.changes < changes {
        let kind = any_kind(&mut churn.random);
        proxy.begin(kind, any_fault(&mut churn.random));
        proxy.drop_watches(any_kind(&mut churn.random));
        let count = 1 + churn.random.below(2 * CHANGES - 1);
        let services = churn.change_pods(count).await;
        // Some faults end between the pods and their slices.
        let is_short = churn.random.below(2) == 0;
        if is_short {
            proxy.end(kind);
            proxy.drop_watches(any_kind(&mut churn.random));
        }
        churn.write_slices(services).await;
        proxy.end(kind);
        outcome.changes += count;
        outcome.rounds += 1;
        if outcome.rounds.is_multiple_of(COMPARED) || outcome.changes >= changes {
            let quiet = Instant::now();
            until_equal(churn.cluster, pilot).await;
            outcome.equal_after.push(quiet.elapsed());
        }
    }
    outcome
}

fn any_kind(random: &mut Random) -> &'static str {
    KINDS[random.below(KINDS.len())]
}

fn any_fault(random: &mut Random) -> Fault {
    match random.below(6) {
        0 => Fault::Status(500),
        1 => Fault::HoldEvents,
        2 => Fault::Repeat(2),
        3 => Fault::CutEvents,
        4 => Fault::Gone,
        _ => Fault::EndWatches,
    }
}

// === impl Outcome ===

impl Outcome {
    fn told(mut self, took: Duration, proxy: &ApiProxy) -> String {
        self.equal_after.sort_unstable();
        let counts = KINDS.map(|kind| proxy.counts(kind));
        format!(
            "{} changes of pods in {took:.1?}, {} faults, {} watches begun, {} lists; no divergence {:.0?} after \
             quiet in the median, {:.0?} at the latest, {} times",
            self.changes,
            self.rounds,
            counts.iter().map(|counts| counts.watches).sum::<usize>(),
            counts.iter().map(|counts| counts.lists).sum::<usize>(),
            self.equal_after[self.equal_after.len() / 2],
            self.equal_after[self.equal_after.len() - 1],
            self.equal_after.len(),
        )
    }
}
