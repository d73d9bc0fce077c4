//! What handlers do for each template (`spec 02` §10.2).

use std::time::Duration;

use mesh_api::istio::mixer::adapter::model::v1beta1::quota_result::Result as WireGranted;
use mesh_api::istio::mixer::adapter::model::v1beta1::{CheckResult, QuotaResult};
use mesh_api::{
    apikey, authorization, checknothing, edge, listentry, logentry, metric, quota, reportnothing, tracespan,
};
use tonic::{Request, Response, Status};

use crate::server::{Handlers, Server};
use crate::{Adapter, kubernetes};

/// What is asked of a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The same for a call that is made again. Empty: never the same.
    pub deduplication_id: String,
    /// How much.
    pub amount: i64,
    /// A part is welcome. Otherwise all or nothing.
    pub best_effort: bool,
}

/// What a quota gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// How much. 0 is a refusal.
    pub amount: i64,
    /// For how long.
    pub valid_duration: Duration,
}

/// Declares the trait of a template, and serves it for every adapter whose handlers implement it.
///
/// The built-in templates are declared by this, and so is one of your own. Generate its code, with the messages of Mixer's
/// model taken from here, as [`model`](crate::model) says. Then a template that reports is
///
/// ```text
/// mixer_sdk::template! {
///     /// Template `audit`: all of a report at once.
///     pub trait HandleAudit {
///         fn handle_audit(instances: Vec<audit::InstanceMsg>);
///     }
///     serves audit::handle_audit_service_server::HandleAuditService, sent audit::HandleAuditRequest
/// }
/// ```
///
/// and any other one takes one instance and answers:
///
/// ```text
///     pub trait HandlePermit {
///         fn handle_permit(instance: permit::InstanceMsg) -> CheckResult;
///     }
/// ```
///
/// [`Server::template`] adds it: `Server::new(adapter).template(HandlePermitServiceServer::new)`.
#[macro_export]
macro_rules! template {
    (
        $(#[$doc:meta])*
        $vis:vis trait $trait:ident { fn $method:ident($instances:ident: Vec<$instance:ty>); }
        serves $service:path, sent $request:ty
    ) => {
        $(#[$doc])*
        $vis trait $trait: Send + Sync + 'static {
            /// Called with what rules send.
            ///
            /// # Errors
            ///
            /// Mixer counts any as a failure of the adapter.
            fn $method(
                &self,
                $instances: Vec<$instance>,
            ) -> impl ::core::future::Future<Output = Result<(), $crate::Status>> + Send;
        }

        #[$crate::tonic::async_trait]
        impl<A: $crate::Adapter<Handler: $trait>> $service for $crate::Handlers<A> {
            async fn $method(
                &self,
                request: $crate::tonic::Request<$request>,
            ) -> Result<$crate::tonic::Response<$crate::model::ReportResult>, $crate::Status> {
                let message = request.into_inner();
                let handler = self.of(message.adapter_config).await?;
                handler.$method(message.instances).await?;
                Ok($crate::tonic::Response::new($crate::model::ReportResult {}))
            }
        }
    };
    (
        $(#[$doc:meta])*
        $vis:vis trait $trait:ident { fn $method:ident($instance:ident: $type:ty) -> $answer:ty; }
        serves $service:path, sent $request:ty
    ) => {
        $(#[$doc])*
        $vis trait $trait: Send + Sync + 'static {
            /// Called with what rules send.
            ///
            /// # Errors
            ///
            /// Mixer takes any for a failure of the adapter, which is no refusal.
            fn $method(
                &self,
                $instance: $type,
            ) -> impl ::core::future::Future<Output = Result<$answer, $crate::Status>> + Send;
        }

        #[$crate::tonic::async_trait]
        impl<A: $crate::Adapter<Handler: $trait>> $service for $crate::Handlers<A> {
            async fn $method(
                &self,
                request: $crate::tonic::Request<$request>,
            ) -> Result<$crate::tonic::Response<$answer>, $crate::Status> {
                let message = request.into_inner();
                let handler = self.of(message.adapter_config).await?;
                let answer = handler.$method(message.instance.unwrap_or_default()).await?;
                Ok($crate::tonic::Response::new(answer))
            }
        }
    };
}

template! {
    /// Template `metric`: all of a report at once.
    pub trait HandleMetric { fn handle_metric(instances: Vec<metric::InstanceMsg>); }
    serves metric::handle_metric_service_server::HandleMetricService, sent metric::HandleMetricRequest
}

template! {
    /// Template `logentry`: all of a report at once.
    pub trait HandleLogEntry { fn handle_log_entry(instances: Vec<logentry::InstanceMsg>); }
    serves logentry::handle_log_entry_service_server::HandleLogEntryService, sent logentry::HandleLogEntryRequest
}

template! {
    /// Template `tracespan`: all of a report at once.
    pub trait HandleTraceSpan { fn handle_trace_span(instances: Vec<tracespan::InstanceMsg>); }
    serves tracespan::handle_trace_span_service_server::HandleTraceSpanService, sent tracespan::HandleTraceSpanRequest
}

template! {
    /// Template `edge`: all of a report at once.
    pub trait HandleEdge { fn handle_edge(instances: Vec<edge::InstanceMsg>); }
    serves edge::handle_edge_service_server::HandleEdgeService, sent edge::HandleEdgeRequest
}

template! {
    /// Template `reportnothing`: all of a report at once.
    pub trait HandleReportNothing { fn handle_report_nothing(instances: Vec<reportnothing::InstanceMsg>); }
    serves reportnothing::handle_report_nothing_service_server::HandleReportNothingService,
    sent reportnothing::HandleReportNothingRequest
}

template! {
    /// Template `listentry`: a decision.
    pub trait HandleListEntry { fn handle_list_entry(instance: listentry::InstanceMsg) -> CheckResult; }
    serves listentry::handle_list_entry_service_server::HandleListEntryService, sent listentry::HandleListEntryRequest
}

template! {
    /// Template `checknothing`: a decision.
    pub trait HandleCheckNothing { fn handle_check_nothing(instance: checknothing::InstanceMsg) -> CheckResult; }
    serves checknothing::handle_check_nothing_service_server::HandleCheckNothingService,
    sent checknothing::HandleCheckNothingRequest
}

template! {
    /// Template `apikey`: a decision.
    pub trait HandleApiKey { fn handle_api_key(instance: apikey::InstanceMsg) -> CheckResult; }
    serves apikey::handle_api_key_service_server::HandleApiKeyService, sent apikey::HandleApiKeyRequest
}

template! {
    /// Template `authorization`: a decision.
    pub trait HandleAuthorization { fn handle_authorization(instance: authorization::InstanceMsg) -> CheckResult; }
    serves authorization::handle_authorization_service_server::HandleAuthorizationService,
    sent authorization::HandleAuthorizationRequest
}

template! {
    /// Template `kubernetes`: attributes.
    pub trait HandleKubernetes { fn handle_kubernetes(instance: kubernetes::InstanceMsg) -> kubernetes::OutputMsg; }
    serves kubernetes::handle_kubernetes_service_server::HandleKubernetesService,
    sent kubernetes::HandleKubernetesRequest
}

/// Template `quota`: an amount.
pub trait HandleQuota: Send + Sync + 'static {
    /// Called for each quota that is asked for.
    ///
    /// # Errors
    ///
    /// Mixer takes any for a failure of the adapter, which is no refusal.
    fn handle_quota(
        &self,
        instance: quota::InstanceMsg,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Granted, Status>> + Send;
}

#[tonic::async_trait]
impl<A: Adapter<Handler: HandleQuota>> quota::handle_quota_service_server::HandleQuotaService
    for Handlers<A>
{
    async fn handle_quota(
        &self,
        request: Request<quota::HandleQuotaRequest>,
    ) -> Result<Response<QuotaResult>, Status> {
        let message = request.into_inner();
        let handler = self.of(message.adapter_config).await?;
        let instance = message.instance.unwrap_or_default();
        let mut result = QuotaResult::default();
        // One answer for each name that is asked for.
        for (name, params) in message.quota_request.unwrap_or_default().quotas {
            let wanted = Wanted {
                deduplication_id: message.dedup_id.clone(),
                amount: params.amount,
                best_effort: params.best_effort,
            };
            let granted = handler.handle_quota(instance.clone(), wanted).await?;
            let granted = WireGranted {
                // Longer than any amount is granted for.
                valid_duration: granted.valid_duration.try_into().ok(),
                granted_amount: granted.amount,
            };
            result.quotas.insert(name, granted);
        }
        Ok(result.into())
    }
}

/// A method of [`Server`] for each built-in template.
macro_rules! built_in {
    ($($name:ident: $method:ident $trait:ident $($service:ident)::+;)*) => {$(
        impl<A: Adapter<Handler: $trait>> Server<A> {
            #[doc = concat!("Serves the template `", stringify!($name), "`.")]
            #[must_use]
            pub fn $method(self) -> Self {
                self.template($($service)::+::new)
            }
        }
    )*};
}

built_in! {
    apikey: api_key HandleApiKey apikey::handle_api_key_service_server::HandleApiKeyServiceServer;
    authorization: authorization HandleAuthorization
        authorization::handle_authorization_service_server::HandleAuthorizationServiceServer;
    checknothing: check_nothing HandleCheckNothing
        checknothing::handle_check_nothing_service_server::HandleCheckNothingServiceServer;
    edge: edge HandleEdge edge::handle_edge_service_server::HandleEdgeServiceServer;
    kubernetes: kubernetes HandleKubernetes
        kubernetes::handle_kubernetes_service_server::HandleKubernetesServiceServer;
    listentry: list_entry HandleListEntry listentry::handle_list_entry_service_server::HandleListEntryServiceServer;
    logentry: log_entry HandleLogEntry logentry::handle_log_entry_service_server::HandleLogEntryServiceServer;
    metric: metric HandleMetric metric::handle_metric_service_server::HandleMetricServiceServer;
    quota: quota HandleQuota quota::handle_quota_service_server::HandleQuotaServiceServer;
    reportnothing: report_nothing HandleReportNothing
        reportnothing::handle_report_nothing_service_server::HandleReportNothingServiceServer;
    tracespan: trace_span HandleTraceSpan tracespan::handle_trace_span_service_server::HandleTraceSpanServiceServer;
}
