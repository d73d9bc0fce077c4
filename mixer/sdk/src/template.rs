//! What handlers do for each template (`spec 02` §10.2).

use std::time::Duration;

use mesh_api::istio::mixer::adapter::model::v1beta1::quota_result::Result as WireGranted;
use mesh_api::istio::mixer::adapter::model::v1beta1::{CheckResult, QuotaResult, ReportResult};
use mesh_api::{
    apikey, authorization, checknothing, edge, listentry, logentry, metric, quota, reportnothing, tracespan,
};
use tonic::{Request, Response, Status};

use crate::server::{Server, Service};
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

/// For each template: its trait, the generated service that calls it, and the method of [`Server`] that serves it. What is
/// handed over and what is answered stand in braces.
macro_rules! templates {
    ($(
        $(#[$doc:meta])*
        $trait:ident $method:ident $module:ident $add:ident
        ($server:ident, $service:ident, $service_server:ident, $request:ident -> $response:ty)
        fn($($argument:ident: $type:ty),*) -> $result:ty
        { $message:ident, $handler:ident => $answer:expr }
    )*) => {$(
        $(#[$doc])*
        pub trait $trait: Send + Sync + 'static {
            /// Called with what rules send.
            ///
            /// # Errors
            ///
            /// Mixer takes any for a failure of the adapter, which is no refusal.
            fn $method(&self, $($argument: $type),*) -> impl Future<Output = Result<$result, Status>> + Send;
        }

        #[tonic::async_trait]
        impl<A: Adapter<Handler: $trait>> $module::$server::$service for Service<A> {
            async fn $method(
                &self,
                request: Request<$module::$request>,
            ) -> Result<Response<$response>, Status> {
                let mut $message = request.into_inner();
                let $handler = self.0.handler($message.adapter_config.take()).await?;
                Ok(Response::new($answer))
            }
        }

        impl<A: Adapter<Handler: $trait>> Server<A> {
            $(#[$doc])*
            #[must_use]
            pub fn $add(mut self) -> Self {
                let service = $module::$server::$service_server::new(self.service.clone());
                self.routes.add_service(service);
                self
            }
        }
    )*};
}

templates! {
    /// Template `metric`: all of a report at once.
    HandleMetric handle_metric metric metric
    (handle_metric_service_server, HandleMetricService, HandleMetricServiceServer, HandleMetricRequest -> ReportResult)
    fn(instances: Vec<metric::InstanceMsg>) -> ()
    { message, handler => { handler.handle_metric(message.instances).await?; ReportResult {} } }

    /// Template `logentry`: all of a report at once.
    HandleLogEntry handle_log_entry logentry log_entry
    (handle_log_entry_service_server, HandleLogEntryService, HandleLogEntryServiceServer, HandleLogEntryRequest -> ReportResult)
    fn(instances: Vec<logentry::InstanceMsg>) -> ()
    { message, handler => { handler.handle_log_entry(message.instances).await?; ReportResult {} } }

    /// Template `tracespan`: all of a report at once.
    HandleTraceSpan handle_trace_span tracespan trace_span
    (handle_trace_span_service_server, HandleTraceSpanService, HandleTraceSpanServiceServer, HandleTraceSpanRequest -> ReportResult)
    fn(instances: Vec<tracespan::InstanceMsg>) -> ()
    { message, handler => { handler.handle_trace_span(message.instances).await?; ReportResult {} } }

    /// Template `edge`: all of a report at once.
    HandleEdge handle_edge edge edge
    (handle_edge_service_server, HandleEdgeService, HandleEdgeServiceServer, HandleEdgeRequest -> ReportResult)
    fn(instances: Vec<edge::InstanceMsg>) -> ()
    { message, handler => { handler.handle_edge(message.instances).await?; ReportResult {} } }

    /// Template `reportnothing`: all of a report at once.
    HandleReportNothing handle_report_nothing reportnothing report_nothing
    (handle_report_nothing_service_server, HandleReportNothingService, HandleReportNothingServiceServer, HandleReportNothingRequest -> ReportResult)
    fn(instances: Vec<reportnothing::InstanceMsg>) -> ()
    { message, handler => { handler.handle_report_nothing(message.instances).await?; ReportResult {} } }

    /// Template `listentry`: a decision.
    HandleListEntry handle_list_entry listentry list_entry
    (handle_list_entry_service_server, HandleListEntryService, HandleListEntryServiceServer, HandleListEntryRequest -> CheckResult)
    fn(instance: listentry::InstanceMsg) -> CheckResult
    { message, handler => handler.handle_list_entry(message.instance.unwrap_or_default()).await? }

    /// Template `checknothing`: a decision.
    HandleCheckNothing handle_check_nothing checknothing check_nothing
    (handle_check_nothing_service_server, HandleCheckNothingService, HandleCheckNothingServiceServer, HandleCheckNothingRequest -> CheckResult)
    fn(instance: checknothing::InstanceMsg) -> CheckResult
    { message, handler => handler.handle_check_nothing(message.instance.unwrap_or_default()).await? }

    /// Template `apikey`: a decision.
    HandleApiKey handle_api_key apikey api_key
    (handle_api_key_service_server, HandleApiKeyService, HandleApiKeyServiceServer, HandleApiKeyRequest -> CheckResult)
    fn(instance: apikey::InstanceMsg) -> CheckResult
    { message, handler => handler.handle_api_key(message.instance.unwrap_or_default()).await? }

    /// Template `authorization`: a decision.
    HandleAuthorization handle_authorization authorization authorization
    (handle_authorization_service_server, HandleAuthorizationService, HandleAuthorizationServiceServer, HandleAuthorizationRequest -> CheckResult)
    fn(instance: authorization::InstanceMsg) -> CheckResult
    { message, handler => handler.handle_authorization(message.instance.unwrap_or_default()).await? }

    /// Template `kubernetes`: attributes.
    HandleKubernetes handle_kubernetes kubernetes kubernetes
    (handle_kubernetes_service_server, HandleKubernetesService, HandleKubernetesServiceServer, HandleKubernetesRequest -> kubernetes::OutputMsg)
    fn(instance: kubernetes::InstanceMsg) -> kubernetes::OutputMsg
    { message, handler => handler.handle_kubernetes(message.instance.unwrap_or_default()).await? }

    /// Template `quota`: an amount.
    HandleQuota handle_quota quota quota
    (handle_quota_service_server, HandleQuotaService, HandleQuotaServiceServer, HandleQuotaRequest -> QuotaResult)
    fn(instance: quota::InstanceMsg, wanted: Wanted) -> Granted
    { message, handler => quotas(&*handler, message).await? }
}

/// One answer for each name that is asked for.
async fn quotas<H: HandleQuota>(
    handler: &H,
    message: quota::HandleQuotaRequest,
) -> Result<QuotaResult, Status> {
    let instance = message.instance.unwrap_or_default();
    let mut result = QuotaResult::default();
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
    Ok(result)
}
