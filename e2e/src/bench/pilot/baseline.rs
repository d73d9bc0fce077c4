//! What Istio 1.1.17 needed for the same work: Go implementation, same workload, two cores, client on the same
//! machine, debounce of 100 ms included.

use super::results::ChangeKind;

/// Its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) ready_s: f64,
    pub(crate) cpu_until_idle_s: f64,
    pub(crate) resident_mb: f64,
    /// Bytes of the whole configuration of one client, by type.
    pub(crate) bytes: [u64; 4],
}

/// All clients connecting at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    pub(crate) last_s: f64,
    pub(crate) cpu_per_client_ms: f64,
    pub(crate) resident_mb: f64,
}

/// One change, sent as the whole configuration to every client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) last_ms: f64,
    pub(crate) cpu_s: f64,
}

/// Memory in MB after the changes, and the most there was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) end_mb: f64,
    pub(crate) peak_mb: f64,
}

/// By services. Where runs differed, the middle.
const START: [(u32, [f64; 3], [u64; 4]); 4] = [
    (100, [0.16, 0.08, 43.0], [91_044, 84_956, 3_250, 146_862]),
    (1_000, [0.135, 1.85, 158.0], [905_544, 864_193, 3_250, 1_465_614]),
    (
        5_000,
        [0.555, 53.0, 670.0],
        [4_525_543, 4_391_530, 3_249, 7_332_159],
    ),
    (
        10_000,
        [0.75, 455.0, 1_491.0],
        [9_050_543, 8_782_958, 3_249, 14_669_089],
    ),
];

/// By services and clients: seconds, CPU ms per client, MB.
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

/// By services and clients: p50, p99, last ms and CPU s of a VirtualService, the same of an endpoint, MB at the end
/// and at most. An endpoint of 5000 services and 100 clients was not measured to the end.
#[allow(clippy::type_complexity, reason = "a table of figures")]
const CHANGES: [(u32, u32, [f64; 4], Option<[f64; 4]>, [f64; 2]); 9] = [
    (
        100,
        1,
        [135.0, 135.0, 135.0, 0.05],
        Some([134.0, 134.0, 134.0, 0.04]),
        [57.0, 57.0],
    ),
    (
        100,
        100,
        [448.0, 589.0, 596.0, 0.70],
        Some([397.0, 617.0, 619.0, 0.65]),
        [202.0, 236.0],
    ),
    (
        100,
        500,
        [1_700.0, 2_110.0, 2_113.0, 3.53],
        Some([1_185.0, 1_985.0, 2_012.0, 3.42]),
        [868.0, 989.0],
    ),
    (
        1_000,
        1,
        [1_388.0, 1_388.0, 1_388.0, 1.9],
        Some([1_354.0, 1_354.0, 1_354.0, 1.9]),
        [290.0, 312.0],
    ),
    (
        1_000,
        100,
        [6_845.0, 7_106.0, 7_107.0, 12.3],
        Some([3_236.0, 5_255.0, 5_370.0, 12.1]),
        [2_179.0, 2_257.0],
    ),
    (
        1_000,
        500,
        [28_198.0, 34_834.0, 34_983.0, 56.0],
        Some([20_525.0, 40_122.0, 40_228.0, 57.5]),
        [10_511.0, 11_231.0],
    ),
    (
        5_000,
        1,
        [42_093.0, 42_093.0, 42_093.0, 57.0],
        Some([74_382.0, 74_382.0, 74_382.0, 60.0]),
        [1_314.0, 1_366.0],
    ),
    (
        5_000,
        100,
        [181_009.0, 187_763.0, 187_861.0, 168.0],
        None,
        [8_962.0, 10_771.0],
    ),
    (
        10_000,
        1,
        [188_416.0, 188_416.0, 188_416.0, 264.0],
        None,
        [1_863.0, 2_606.0],
    ),
];

/// CPU seconds of a change, by services, that only meshes of ServiceEntries cost: every ServiceEntry is converted once
/// for each service.
const SERVICE_ENTRIES: [(u32, f64); 4] = [(100, 0.04), (1_000, 1.75), (5_000, 55.0), (10_000, 260.0)];

pub(crate) fn start(services: u32) -> Option<Start> {
    let (_, [ready_s, cpu_until_idle_s, resident_mb], bytes) =
        START.into_iter().find(|(of, ..)| *of == services)?;
    Some(Start {
        ready_s,
        cpu_until_idle_s,
        resident_mb,
        bytes,
    })
}

pub(crate) fn connect(services: u32, clients: u32) -> Option<Connect> {
    let (.., [last_s, cpu_per_client_ms, resident_mb]) = CONNECT
        .into_iter()
        .find(|(of, with, _)| (*of, *with) == (services, clients))?;
    Some(Connect {
        last_s,
        cpu_per_client_ms,
        resident_mb,
    })
}

pub(crate) fn change(services: u32, clients: u32, kind: ChangeKind) -> Option<Change> {
    let (.., virtual_service, endpoint, _) = changes(services, clients)?;
    let [p50_ms, p99_ms, last_ms, cpu_s] = match kind {
        ChangeKind::VirtualService => virtual_service,
        ChangeKind::Endpoint => endpoint?,
        ChangeKind::Service | ChangeKind::Nothing => return None,
    };
    Some(Change {
        p50_ms,
        p99_ms,
        last_ms,
        cpu_s,
    })
}

pub(crate) fn memory(services: u32, clients: u32) -> Option<Memory> {
    let (.., [end_mb, peak_mb]) = changes(services, clients)?;
    Some(Memory { end_mb, peak_mb })
}

/// The part of its CPU seconds of a change that other meshes do not pay.
pub(crate) fn service_entries_s(services: u32) -> Option<f64> {
    SERVICE_ENTRIES
        .into_iter()
        .find(|(of, _)| *of == services)
        .map(|(_, seconds)| seconds)
}

#[allow(clippy::type_complexity, reason = "a row of the table")]
fn changes(services: u32, clients: u32) -> Option<(u32, u32, [f64; 4], Option<[f64; 4]>, [f64; 2])> {
    CHANGES
        .into_iter()
        .find(|(of, with, ..)| (*of, *with) == (services, clients))
}
