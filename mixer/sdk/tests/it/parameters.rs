//! Adapters without sessions, which get their parameters with every call (`spec 02` §10.1).

use futures::future::join_all;
use mixer_sdk::Code;

use crate::world::{Recorder, channel, check, params, report, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_02_10_1_equal_parameters_make_one_handler() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    let calls = (0..50).map(|_| check(&channel, Some(params("a")), "x"));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap(), "a refuses x");
    }
    assert_eq!(recorder.events.all(), ["built a"]);
    // No parameters at all are those that have no field.
    assert_eq!(check(&channel, None, "x").await.unwrap(), " refuses x");
}

#[tokio::test]
async fn spec_02_10_1_a_handler_that_cannot_be_made_now_is_tried_again() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    for _ in 0..2 {
        let error = report(&channel, Some(params("broken")), "x").await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::Unavailable, "the disk is full")
        );
    }
    assert_eq!(recorder.events.all(), ["not built", "not built"]);
    let error = report(&channel, Some(params("bad")), "x").await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "message: is bad")
    );
}

#[tokio::test]
async fn spec_02_10_1_handlers_that_nobody_uses_are_forgotten() {
    let recorder = Recorder::new();
    let (_runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    for number in 0..300 {
        report(&channel, Some(params(&number.to_string())), "x")
            .await
            .unwrap();
        report(&channel, Some(params("used")), "x").await.unwrap();
    }
    assert_eq!(recorder.events.count("built used"), 1);
    assert_eq!(recorder.events.count("dropped used"), 0);
    assert_eq!(recorder.events.count("dropped 0"), 1);
    assert_eq!(recorder.events.count("dropped 299"), 0);
}
