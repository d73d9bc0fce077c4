//! An adapter that writes down what happens to it, and how it is called.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use mesh_api::listentry::handle_list_entry_service_client::HandleListEntryServiceClient;
use mesh_api::metric::handle_metric_service_client::HandleMetricServiceClient;
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, connect};
use mixer_sdk::{
    Adapter, Any, CheckResult, Code, HandleListEntry, HandleMetric, Inferred, ProcessArgs, RpcStatus, Server,
    Status, listentry, metric, refused, value,
};
use tokio::sync::Semaphore;
use tonic::transport::Channel;

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

/// An adapter whose parameters are a message that has a text, which is the name of the handler. The names `bad` and `broken`
/// cannot be had.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) events: Events,
    /// Lets calls about `slow` go on.
    pub(crate) gate: Arc<Semaphore>,
}

/// A handler.
#[derive(Debug)]
pub(crate) struct Recording {
    name: String,
    recorder: Recorder,
}

// === impl Events ===

impl Events {
    pub(crate) fn push(&self, event: String) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.all().iter().filter(|one| *one == event).count()
    }
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            events: Events::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn server(&self) -> Server<Self> {
        Server::new(self.clone()).metric().list_entry()
    }
}

impl Adapter for Recorder {
    type Config = RpcStatus;
    type Handler = Recording;

    fn validate(&self, config: &RpcStatus, _: &Inferred) -> Result<(), Status> {
        match config.message.as_str() {
            "bad" => Err(Status::invalid_argument("message: is bad")),
            _ => Ok(()),
        }
    }

    async fn build(&self, config: RpcStatus, inferred: &Inferred) -> Result<Recording, Status> {
        // Whoever waits for the same handler has time to come.
        tokio::task::yield_now().await;
        let name = config.message;
        if name == "broken" {
            self.events.push("not built".to_owned());
            return Err(Status::unavailable("the disk is full"));
        }
        let types: Vec<&str> = inferred.keys().map(String::as_str).collect();
        self.events
            .push(format!("built {name} {}", types.join(" ")).trim_end().to_owned());
        Ok(Recording {
            name,
            recorder: self.clone(),
        })
    }
}

// === impl Recording ===

impl HandleMetric for Recording {
    async fn handle_metric(&self, instances: Vec<metric::InstanceMsg>) -> Result<(), Status> {
        let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        self.recorder
            .events
            .push(format!("{}: {}", self.name, names.join(" ")));
        Ok(())
    }
}

impl HandleListEntry for Recording {
    async fn handle_list_entry(&self, instance: listentry::InstanceMsg) -> Result<CheckResult, Status> {
        let text = match instance.value.and_then(|value| value.value) {
            Some(value::Value::StringValue(text)) => text,
            _ => String::new(),
        };
        match text.as_str() {
            "panic" => panic!("as told"),
            "slow" => {
                self.recorder.events.push("slow".to_owned());
                let _passed = self.recorder.gate.acquire().await;
            }
            _ => {}
        }
        Ok(refused(
            Code::PermissionDenied,
            format!("{} refuses {text}", self.name),
        ))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.recorder.events.push(format!("dropped {}", self.name));
    }
}

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    process: ProcessArgs,
}

/// What the command line says, on a port that is free unless it says one.
pub(crate) fn args(flags: &[&str]) -> ProcessArgs {
    let address: &[&str] = match flags.iter().any(|flag| flag.starts_with("--address")) {
        true => &[],
        false => &["--address=127.0.0.1:0"],
    };
    let args = ["adapter"].iter().chain(address).chain(flags);
    Args::try_parse_from(args).unwrap().process
}

/// Serves in this process, for as long as the test runs.
pub(crate) async fn serve(recorder: &Recorder, flags: &[&str]) -> (Runtime, SocketAddr) {
    let runtime = Runtime::builder("adapter").build().unwrap();
    let address = recorder.server().serve(&runtime, &args(flags)).await.unwrap();
    (runtime, address)
}

pub(crate) fn host_port(address: SocketAddr) -> HostPort {
    address.to_string().parse().unwrap()
}

pub(crate) fn channel(address: SocketAddr) -> Channel {
    connect(&host_port(address), &ClientOptions::default()).unwrap()
}

/// Parameters: the name of the handler.
pub(crate) fn params(name: &str) -> Any {
    Any::pack(&RpcStatus {
        message: name.to_owned(),
        ..RpcStatus::default()
    })
}

/// The id of a session, as calls have it.
pub(crate) fn session(id: &str) -> Any {
    Any {
        type_url: "google.protobuf.Any.type_url".to_owned(),
        value: id.to_owned().into(),
    }
}

pub(crate) async fn report(channel: &Channel, config: Option<Any>, name: &str) -> Result<(), Status> {
    let request = metric::HandleMetricRequest {
        instances: vec![metric::InstanceMsg {
            name: name.to_owned(),
            ..metric::InstanceMsg::default()
        }],
        adapter_config: config,
        dedup_id: "1".to_owned(),
    };
    let mut client = HandleMetricServiceClient::new(channel.clone());
    client.handle_metric(request).await.map(|_| ())
}

/// What is said about a text.
pub(crate) async fn check(channel: &Channel, config: Option<Any>, text: &str) -> Result<String, Status> {
    let request = listentry::HandleListEntryRequest {
        instance: Some(listentry::InstanceMsg {
            value: Some(mixer_sdk::Value {
                value: Some(value::Value::StringValue(text.to_owned())),
            }),
            name: "one".to_owned(),
        }),
        adapter_config: config,
        dedup_id: "1".to_owned(),
    };
    let mut client = HandleListEntryServiceClient::new(channel.clone());
    let answer = client.handle_list_entry(request).await?.into_inner();
    let status = answer.status.unwrap();
    assert_eq!(status.code, Code::PermissionDenied as i32);
    Ok(status.message)
}
