use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_api::Any;
use mesh_api::checknothing::HandleCheckNothingRequest;
use mesh_api::checknothing::handle_check_nothing_service_server::{
    HandleCheckNothingService, HandleCheckNothingServiceServer,
};
use mesh_api::google::rpc::Status as Said;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_server::{
    InfrastructureBackend, InfrastructureBackendServer,
};
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CheckResult, CloseSessionRequest, CloseSessionResponse, CreateSessionRequest, CreateSessionResponse,
    QuotaResult, ReportResult, ValidateRequest, ValidateResponse, quota_result,
};
use mesh_api::istio::policy::v1beta1::value::Value as Wire;
use mesh_api::metric::HandleMetricRequest;
use mesh_api::metric::handle_metric_service_server::{HandleMetricService, HandleMetricServiceServer};
use mesh_api::quota::HandleQuotaRequest;
use mesh_api::quota::handle_quota_service_server::{HandleQuotaService, HandleQuotaServiceServer};
use mesh_runtime::Spawner;
use mesh_testing::ports;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapter::{BUILD_LIMIT, Handle, QuotaArgs};
use mixer_adapters::bypass::Bypass;
use mixer_attribute::Value;
use mixer_template::{Metric, Template};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::support::{answer, build, instances, try_build};

/// A back end that remembers what it was asked.
#[derive(Clone, Default)]
struct Backend {
    asked: Arc<Mutex<Asked>>,
    /// Refuses parameters.
    refuses: bool,
}

#[derive(Default)]
struct Asked {
    /// Calls of the life of a session.
    session: Vec<String>,
    types: BTreeMap<String, Any>,
    configs: Vec<Option<Any>>,
    metrics: Vec<HandleMetricRequest>,
    quotas: Vec<HandleQuotaRequest>,
}

impl Backend {
    /// Serves at the port of a listener until the test ends.
    fn serve(&self, listener: TcpListener) {
        let server = Server::builder()
            .add_service(InfrastructureBackendServer::new(self.clone()))
            .add_service(HandleCheckNothingServiceServer::new(self.clone()))
            .add_service(HandleMetricServiceServer::new(self.clone()))
            .add_service(HandleQuotaServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Spawner::default().spawn("back end", server);
    }

    async fn start(&self) -> String {
        let (listener, address) = ports::listen().await.unwrap();
        self.serve(listener);
        address.to_string()
    }

    fn asked<T>(&self, read: impl FnOnce(&mut Asked) -> T) -> T {
        read(&mut self.asked.lock().unwrap())
    }

    fn status(&self) -> Option<Said> {
        Some(Said {
            code: if self.refuses { 3 } else { 0 },
            message: "no such colour".to_owned(),
            ..Said::default()
        })
    }
}

#[tonic::async_trait]
impl InfrastructureBackend for Backend {
    async fn validate(
        &self,
        request: Request<ValidateRequest>,
    ) -> Result<Response<ValidateResponse>, Status> {
        let request = request.into_inner();
        self.asked(|asked| {
            asked.session.push("validate".to_owned());
            asked.types = request.inferred_types;
            asked.configs.push(request.adapter_config);
        });
        Ok(Response::new(ValidateResponse {
            status: self.status(),
        }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let config = request.into_inner().adapter_config;
        self.asked(|asked| {
            asked.session.push("create".to_owned());
            asked.configs.push(config);
        });
        Ok(Response::new(CreateSessionResponse {
            session_id: "session-7".to_owned(),
            status: None,
        }))
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let id = request.into_inner().session_id;
        self.asked(|asked| asked.session.push(format!("close {id}")));
        Ok(Response::new(CloseSessionResponse::default()))
    }
}

#[tonic::async_trait]
impl HandleCheckNothingService for Backend {
    async fn handle_check_nothing(
        &self,
        request: Request<HandleCheckNothingRequest>,
    ) -> Result<Response<CheckResult>, Status> {
        let request = request.into_inner();
        self.asked(|asked| asked.configs.push(request.adapter_config));
        assert!(request.dedup_id.parse::<u64>().is_ok());
        Ok(Response::new(CheckResult {
            status: Some(Said {
                code: 7,
                message: request.instance.unwrap_or_default().name,
                ..Said::default()
            }),
            valid_duration: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            valid_use_count: 9,
        }))
    }
}

#[tonic::async_trait]
impl HandleMetricService for Backend {
    async fn handle_metric(
        &self,
        request: Request<HandleMetricRequest>,
    ) -> Result<Response<ReportResult>, Status> {
        self.asked(|asked| asked.metrics.push(request.into_inner()));
        Ok(Response::new(ReportResult {}))
    }
}

#[tonic::async_trait]
impl HandleQuotaService for Backend {
    async fn handle_quota(
        &self,
        request: Request<HandleQuotaRequest>,
    ) -> Result<Response<QuotaResult>, Status> {
        let request = request.into_inner();
        let asked = request.quota_request.clone().unwrap_or_default().quotas;
        let granted = asked
            .into_iter()
            .filter(|(name, _)| name != "forgotten.instance.weather");
        let quotas = granted.map(|(name, params)| {
            let granted = quota_result::Result {
                valid_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                granted_amount: params.amount - 1,
            };
            (name, granted)
        });
        let quotas = quotas.collect();
        self.asked(|asked| asked.quotas.push(request));
        Ok(Response::new(QuotaResult { quotas }))
    }
}

fn params(address: &str, session_based: bool) -> Json {
    json!({
        "backendAddress": address,
        "sessionBased": session_based,
        "params": {"@type": "type.googleapis.com/adapter.denier.config.Params", "validUseCount": 5},
    })
}

#[tokio::test]
async fn bypass_complies() {
    let address = Backend::default().start().await;
    let expected = Compliance {
        accepts: vec![params(&address, true), params(&address, false)],
        rejects: vec![
            (Json::Null, "backendAddress"),
            (json!({"backendAddress": "nowhere"}), "backendAddress"),
            (json!({"backendAddress": ":9000"}), "backendAddress"),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Bypass, &expected).await;
}

/// §7.14: without sessions the parameters are sent with every call.
#[tokio::test]
async fn parameters_are_sent_with_every_call() {
    let backend = Backend::default();
    let handler = build(&Bypass, params(&backend.start().await, false)).await;
    let result = handler.check_nothing().await;
    assert_eq!(
        (result.status.code, result.status.message.as_str()),
        (7, "nothing.instance.weather")
    );
    assert_eq!(
        (result.valid_duration, result.valid_use_count),
        (Duration::from_secs(3), 9)
    );
    let config = backend.asked(|asked| asked.configs.pop()).flatten().unwrap();
    assert_eq!(config.message_name(), "adapter.denier.config.Params");

    let args = QuotaArgs {
        deduplication_id: "call".to_owned(),
        amount: 5,
        best_effort: true,
    };
    let name = "requestcount.instance.weather";
    let granted = handler.quota(name, &[("source", "a")], &args).await;
    assert_eq!(
        (granted.amount, granted.valid_duration),
        (4, Duration::from_secs(1))
    );
    let asked = backend.asked(|asked| asked.quotas.pop()).unwrap();
    assert_eq!(asked.dedup_id, "call");
    assert!(asked.quota_request.unwrap().quotas[name].best_effort);
    let dimension = asked.instance.unwrap().dimensions["source"].value.clone();
    assert_eq!(dimension, Some(Wire::StringValue("a".to_owned())));
    handler.close().await;
    assert!(backend.asked(|asked| asked.session.is_empty()));
}

#[tokio::test]
async fn all_instances_of_a_report_go_in_one_call() {
    let backend = Backend::default();
    let handler = build(&Bypass, params(&backend.start().await, false)).await;
    let Some(Handle::Metric(handle)) = handler.handle(Template::Metric) else {
        panic!("no metrics");
    };
    let instances: Vec<Metric<'_>> = ["a.metric.weather", "b.metric.weather"]
        .into_iter()
        .map(|name| Metric {
            name,
            value: Some(Value::Int64(1)),
            dimensions: vec![("ip", Value::IpAddress("10.0.0.1".parse().unwrap()))],
            ..Metric::default()
        })
        .collect();
    answer(handle.handle_metric(&instances)).await;
    let asked = backend.asked(|asked| asked.metrics.pop()).unwrap();
    let names: Vec<&str> = asked
        .instances
        .iter()
        .map(|instance| instance.name.as_str())
        .collect();
    assert_eq!(names, ["a.metric.weather", "b.metric.weather"]);
    let instance = &asked.instances[0];
    assert_eq!(instance.value.as_ref().unwrap().value, Some(Wire::Int64Value(1)));
    let Some(Wire::IpAddressValue(address)) = &instance.dimensions["ip"].value else {
        panic!("{instance:?}");
    };
    assert_eq!(&address.value[..], [10, 0, 0, 1]);
}

/// §10.1: a session is opened for parameters that are valid, its id goes with every call, and it is closed.
#[tokio::test]
async fn a_session_is_opened_used_and_closed() {
    let backend = Backend::default();
    let used = instances(Template::CheckNothing, &["nothing.instance.weather"]);
    let handler = try_build(&Bypass, params(&backend.start().await, true), &used)
        .await
        .unwrap();
    handler.check_nothing().await;
    let config = backend.asked(|asked| asked.configs.pop()).flatten().unwrap();
    assert_eq!(config.type_url, "google.protobuf.Any.type_url");
    assert_eq!(&config.value[..], b"session-7");
    assert!(backend.asked(|asked| asked.types.contains_key("nothing.instance.weather")));
    handler.close().await;
    let calls = backend.asked(|asked| asked.session.clone());
    assert_eq!(calls, ["validate", "create", "close session-7"]);
}

#[tokio::test]
async fn parameters_that_the_back_end_refuses_make_no_handler() {
    let backend = Backend {
        refuses: true,
        ..Backend::default()
    };
    let error = try_build(&Bypass, params(&backend.start().await, true), &BTreeMap::new())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("no such colour"), "{error}");
    assert_eq!(backend.asked(|asked| asked.session.clone()), ["validate"]);
}

/// What is missing in an answer, what the back end does not serve, and one that is gone: errors, no panics.
#[tokio::test]
async fn failures_of_the_back_end_are_errors() {
    let backend = Backend::default();
    let handler = build(&Bypass, params(&backend.start().await, false)).await;
    let Some(Handle::Quota(quota)) = handler.handle(Template::Quota) else {
        panic!("no quotas");
    };
    let forgotten = mixer_template::Quota {
        name: "forgotten.instance.weather",
        ..mixer_template::Quota::default()
    };
    let error = quota.handle_quota(&forgotten, &QuotaArgs::default()).wait().await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("does not answer for forgotten")
    );
    let Some(Handle::ReportNothing(report)) = handler.handle(Template::ReportNothing) else {
        panic!("no reports");
    };
    assert!(report.handle_report_nothing(&[]).wait().await.is_err());
}

/// §7.14: whoever is not there, or there and silent, is given up before the runtime gives up, so that the reason is told.
#[tokio::test(start_paused = true)]
async fn a_back_end_that_does_not_come_is_given_up_with_a_reason() {
    let (silent, address) = ports::listen().await.unwrap();
    let nobody = format!("127.0.0.1:{}", ports::unused().unwrap());
    for (address, reason) in [
        (nobody, "cannot be reached within"),
        (address.to_string(), "no answer within"),
    ] {
        let begin = Instant::now();
        let error = try_build(&Bypass, params(&address, true), &BTreeMap::new()).await;
        let (error, took) = (error.err().unwrap().to_string(), begin.elapsed());
        assert!(error.contains(&address) && error.contains(reason), "{error}");
        assert!(took < BUILD_LIMIT, "{took:?}");
    }
    drop(silent);
}

/// The handler waits for a back end that comes later.
#[tokio::test]
async fn a_back_end_that_is_late_is_waited_for() {
    let port = ports::unused().unwrap();
    let backend = Backend::default();
    let handler = build(&Bypass, params(&format!("127.0.0.1:{port}"), true));
    let late = async {
        // It was asked for in vain at least once.
        tokio::task::yield_now().await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        backend.serve(listener);
    };
    let (handler, ()) = futures::join!(handler, late);
    assert_eq!(handler.check_nothing().await.status.code, 7);
}
