//! An adapter for Mixer: writes down the __TEMPLATE__ instances that it is sent.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::Write as _;

use prost::Message as _;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[allow(dead_code, clippy::all)]
mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

use protos::__CONFIG__::Params;
use protos::__MODULE__::handle___SNAKE___service_server::{
    Handle__INTERFACE__Service, Handle__INTERFACE__ServiceServer,
};
use protos::__MODULE__::{Handle__INTERFACE__Request, InstanceMsg};
__IMPORTS__

struct Adapter;

#[tonic::async_trait]
impl Handle__INTERFACE__Service for Adapter {
    async fn handle___SNAKE__(
        &self,
        request: Request<Handle__INTERFACE__Request>,
    ) -> Result<Response<__RESPONSE__>, Status> {
        let request = request.into_inner();
        let params = parameters(request.adapter_config)?;
        for instance in __INSTANCES__ {
            write(instance, &params)?;
        }
__RESULT__
    }
}

/// What the operator set in the handler.
fn parameters(config: Option<prost_types::Any>) -> Result<Params, Status> {
    let config = config.unwrap_or_default();
    if !config.type_url.is_empty() && !config.type_url.ends_with("/__PACKAGE__.config.Params") {
        let message = format!("adapter_config is a {}", config.type_url);
        return Err(Status::invalid_argument(message));
    }
    Params::decode(&*config.value).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Writes an instance; its name is among the fields.
fn write(instance: &InstanceMsg, params: &Params) -> Result<(), Status> {
    println!("__TEMPLATE__ {instance:?}");
    if !params.file_path.is_empty() {
        File::options()
            .create(true)
            .append(true)
            .open(&params.file_path)
            .and_then(|mut file| writeln!(file, "__TEMPLATE__ {instance:?}"))
            .map_err(|error| Status::internal(format!("{}: {error}", params.file_path)))?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9070".to_owned());
    let incoming = TcpIncoming::bind(address.parse()?)?;
    println!("listening on {}", incoming.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    // Calls that have begun are answered.
    Server::builder()
        .add_service(Handle__INTERFACE__ServiceServer::new(Adapter))
        .serve_with_incoming_shutdown(incoming, stopped)
        .await?;
    Ok(())
}
