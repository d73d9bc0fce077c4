//! The life of a process, without the process; `tests/process.rs` does it with one.

use std::convert::Infallible;

use tokio::sync::mpsc;

use super::*;
use crate::readiness::Status;

fn runtime(deadline: Duration) -> Runtime {
    Runtime::builder("test").drain_deadline(deadline).build().unwrap()
}

/// Signals as the returned sender says.
fn signals() -> (
    mpsc::UnboundedSender<StopSignal>,
    impl Stream<Item = StopSignal> + Unpin,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, futures::stream::poll_fn(move |cx| receiver.poll_recv(cx)))
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_process_is_not_ready_before_it_is_wired() {
    let runtime = runtime(LONG);
    let (_send, signals) = signals();
    let seen = runtime
        .supervise(signals, async |runtime: Runtime| {
            assert_eq!(
                runtime.readiness().status(),
                Status::Pending(vec!["start".to_owned()])
            );
            let again = runtime.clone();
            runtime.spawner().spawn("observer", async move {
                again.readiness().ready().await;
                again.shutdown().request("seen ready");
            });
            Ok::<_, Infallible>(())
        })
        .await;
    assert_eq!(seen, 0);
    assert_eq!(runtime.readiness().status(), Status::Draining);
}

#[tokio::test]
async fn a_signal_starts_the_drain_and_waits_for_guards() {
    let runtime = runtime(LONG);
    let (send, signals) = signals();
    let (report, mut reported) = mpsc::unbounded_channel();
    let code = runtime
        .supervise(signals, async |runtime: Runtime| {
            let guard = runtime.drain().guard("worker");
            let readiness = runtime.readiness().clone();
            runtime.spawner().spawn_vital("worker", async move {
                guard.signaled().await;
                report.send(readiness.status()).unwrap();
                drop(guard);
            });
            send.send(StopSignal::Terminate).unwrap();
            Ok::<_, Infallible>(())
        })
        .await;
    assert_eq!(code, 0);
    assert_eq!(
        reported.try_recv(),
        Ok(Status::Draining),
        "unready before the drain is signaled"
    );
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_guards() {
    let (send, signals) = signals();
    let code = runtime(LONG)
        .supervise(signals, async |runtime: Runtime| {
            let guard = runtime.drain().guard("stuck");
            send.send(StopSignal::Terminate).unwrap();
            runtime.spawner().spawn("sender", async move {
                guard.signaled().await;
                send.send(StopSignal::Interrupt).unwrap();
                std::future::pending::<()>().await;
                drop(guard);
            });
            Ok::<_, Infallible>(())
        })
        .await;
    assert_eq!(code, 130);
}

#[tokio::test]
async fn the_deadline_ends_a_drain_that_hangs() {
    let runtime = runtime(Duration::from_millis(1));
    let guard = runtime.drain().guard("stuck");
    let (_send, signals) = signals();
    runtime.shutdown().request("enough");
    let code = runtime
        .supervise(signals, async |_| Ok::<_, Infallible>(()))
        .await;
    assert_eq!(code, 0);
    drop(guard);
}

#[tokio::test]
async fn a_failure_to_start_is_exit_code_1() {
    let (_send, signals) = signals();
    let code = runtime(LONG)
        .supervise(signals, async |_| Err(io::Error::other("no configuration")))
        .await;
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_signal_interrupts_the_start() {
    let (send, signals) = signals();
    send.send(StopSignal::Interrupt).unwrap();
    let code = runtime(LONG)
        .supervise(signals, |_| std::future::pending::<Result<(), Infallible>>())
        .await;
    assert_eq!(code, 0);
}

#[tokio::test]
async fn a_monitoring_port_in_use_is_an_error_and_a_control_port_in_use_is_not() {
    let runtime = runtime(LONG);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let args = |monitoring: u16, ctrlz_port| AdminArgs {
        monitoring_addr: format!("127.0.0.1:{monitoring}").parse().unwrap(),
        ctrlz_port,
        ..AdminArgs::default()
    };
    let error = runtime
        .spawn_admin(&args(port, 0), Router::new())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("--monitoringAddr: cannot listen on 127.0.0.1:{port}")
    );
    let addresses = runtime.spawn_admin(&args(0, port), Router::new()).await.unwrap();
    assert!(addresses.monitoring.is_some());
    assert_eq!(addresses.ctrlz, None);
}
