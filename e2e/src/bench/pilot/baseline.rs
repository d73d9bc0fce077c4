//! What Istio 1.1.17 needed for the same work (the Go implementation on two cores, the load on the same machine), and
//! what we want to need.

use super::figures::{ConnectMeasure, Figures, Measure, Row, Step};

/// Its start, by services: seconds until ready, CPU seconds until idle, MB then. Where runs differed, the middle.
const START: [(u32, [f64; 3]); 4] = [
    (100, [0.16, 0.08, 43.0]),
    (1_000, [0.135, 1.85, 158.0]),
    (5_000, [0.555, 53.0, 670.0]),
    (10_000, [0.75, 455.0, 1_491.0]),
];

/// Bytes of the configuration of one client: clusters, endpoints, listeners, routes.
const SENT: [(u32, [u64; 4]); 4] = [
    (100, [91_044, 84_956, 3_250, 146_862]),
    (1_000, [905_544, 864_193, 3_250, 1_465_614]),
    (5_000, [4_525_543, 4_391_530, 3_249, 7_332_159]),
    (10_000, [9_050_543, 8_782_958, 3_249, 14_669_089]),
];

/// All clients at once, by services and clients: seconds until the last is complete, CPU ms per client, MB.
const CONNECT: [(u32, u32, [f64; 3]); 9] = [
    (100, 1, [0.013, 15.0, 47.0]),
    (100, 100, [0.62, 7.6, 172.0]),
    (100, 500, [3.9, 7.5, 645.0]),
    (1_000, 1, [0.15, 160.0, 198.0]),
    (1_000, 100, [5.7, 108.0, 2_037.0]),
    (1_000, 500, [28.9, 108.0, 7_250.0]),
    (5_000, 1, [1.35, 1_640.0, 952.0]),
    (5_000, 100, [74.5, 1_210.0, 6_260.0]),
    (10_000, 1, [4.9, 5_300.0, 1_491.0]),
];

/// One VirtualService changed: ms until half, 99 of 100 and all clients have it, CPU ms. It sent everything to everyone.
const VIRTUAL_SERVICE: [(u32, u32, [f64; 4]); 9] = [
    (100, 1, [135.0, 135.0, 135.0, 50.0]),
    (100, 100, [448.0, 589.0, 596.0, 700.0]),
    (100, 500, [1_700.0, 2_110.0, 2_113.0, 3_530.0]),
    (1_000, 1, [1_388.0, 1_388.0, 1_388.0, 1_900.0]),
    (1_000, 100, [6_845.0, 7_106.0, 7_107.0, 12_300.0]),
    (1_000, 500, [28_198.0, 34_834.0, 34_983.0, 56_000.0]),
    (5_000, 1, [42_093.0, 42_093.0, 42_093.0, 57_000.0]),
    (5_000, 100, [181_009.0, 187_763.0, 187_861.0, 168_000.0]),
    (10_000, 1, [188_416.0, 188_416.0, 188_416.0, 264_000.0]),
];

/// The same for one endpoint. It, too, sent everything to everyone.
const ENDPOINT: [(u32, u32, [f64; 4]); 7] = [
    (100, 1, [134.0, 134.0, 134.0, 40.0]),
    (100, 100, [397.0, 617.0, 619.0, 650.0]),
    (100, 500, [1_185.0, 1_985.0, 2_012.0, 3_420.0]),
    (1_000, 1, [1_354.0, 1_354.0, 1_354.0, 1_900.0]),
    (1_000, 100, [3_236.0, 5_255.0, 5_370.0, 12_100.0]),
    (1_000, 500, [20_525.0, 40_122.0, 40_228.0, 57_500.0]),
    (5_000, 1, [74_382.0, 74_382.0, 74_382.0, 60_000.0]),
];

/// MB after the changes, and the most there was.
const MEMORY: [(u32, u32, [f64; 2]); 9] = [
    (100, 1, [57.0, 57.0]),
    (100, 100, [202.0, 236.0]),
    (100, 500, [868.0, 989.0]),
    (1_000, 1, [290.0, 312.0]),
    (1_000, 100, [2_179.0, 2_257.0]),
    (1_000, 500, [10_511.0, 11_231.0]),
    (5_000, 1, [1_314.0, 1_366.0]),
    (5_000, 100, [8_962.0, 10_771.0]),
    (10_000, 1, [1_863.0, 2_606.0]),
];

/// CPU seconds of a change that only meshes of ServiceEntries cost: each was converted once for every service.
const SERVICE_ENTRIES: [(u32, f64); 4] = [(100, 0.04), (1_000, 1.75), (5_000, 55.0), (10_000, 260.0)];

/// The time for which changes are gathered, in seconds. Goals are said without it, figures contain it.
const DEBOUNCE_S: f64 = 0.1;

/// The figures of 1.1.17, as far as there are any.
pub(crate) fn figures(services: u32, clients: u32) -> Figures {
    let mut figures = Figures::default();
    if let Some([ready_s, cpu_s, mb]) = of(&START, services) {
        figures.set(Row::Ready, ready_s);
        figures.set(Row::CpuUntilIdle, cpu_s);
        figures.set(Row::MemoryIdle, mb * 1e6);
    }
    if let Some(bytes) = sent(services) {
        figures.set(
            Row::Configuration,
            bytes.into_iter().map(super::figures::number).sum(),
        );
    }
    if let Some([last_s, cpu_ms, mb]) = with(&CONNECT, services, clients) {
        // It shared nothing between clients: those that come again cost as much.
        for row in [Row::Connect, Row::Reconnect] {
            figures.set(row(ConnectMeasure::Last), last_s);
            figures.set(row(ConnectMeasure::CpuPerClient), cpu_ms / 1e3);
        }
        figures.set(Row::Connect(ConnectMeasure::Memory), mb * 1e6);
    }
    let changes = [
        (Step::VirtualService, with(&VIRTUAL_SERVICE, services, clients)),
        (Step::Endpoint, with(&ENDPOINT, services, clients)),
    ];
    for (step, change) in changes {
        let measures = [Measure::P50, Measure::P99, Measure::Last, Measure::Cpu];
        for (measure, ms) in measures.into_iter().zip(change.into_iter().flatten()) {
            figures.set(Row::Change(step, measure), ms / 1e3);
        }
    }
    if let Some([end_mb, peak_mb]) = with(&MEMORY, services, clients) {
        figures.set(Row::MemoryEnd, end_mb * 1e6);
        figures.set(Row::MemoryPeak, peak_mb * 1e6);
    }
    figures
}

/// What we want to need at most, where that was said.
pub(crate) fn goals(services: u32, clients: u32) -> Figures {
    let mut goals = Figures::default();
    let mut change = |step, p99_s: f64, cpu_s| {
        goals.set(Row::Change(step, Measure::P99), p99_s + DEBOUNCE_S);
        goals.set(Row::Change(step, Measure::Cpu), cpu_s);
    };
    match (services, clients) {
        (1_000, 500) => {
            change(Step::VirtualService, 1.2, 1.5);
            change(Step::Endpoint, 0.4, 0.2);
            goals.set(Row::MemoryEnd, 400e6);
        }
        (5_000, 100) => change(Step::VirtualService, 3.0, 3.0),
        _ => {}
    }
    if services == 1_000 {
        goals.set(Row::Connect(ConnectMeasure::CpuPerClient), 0.003);
    }
    goals
}

/// Bytes of the configuration of one client of 1.1.17, by type.
pub(crate) fn sent(services: u32) -> Option<[u64; 4]> {
    of(&SENT, services)
}

/// The part of 1.1.17's CPU seconds of a change that other meshes do not pay.
pub(crate) fn service_entries_s(services: u32) -> Option<f64> {
    of(&SERVICE_ENTRIES, services)
}

fn of<T: Copy>(table: &[(u32, T)], services: u32) -> Option<T> {
    let row = table.iter().find(|(of, _)| *of == services);
    row.map(|(_, figures)| *figures)
}

fn with<T: Copy>(table: &[(u32, u32, T)], services: u32, clients: u32) -> Option<T> {
    let row = table
        .iter()
        .find(|(of, with, _)| (*of, *with) == (services, clients));
    row.map(|(.., figures)| *figures)
}
