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

/// A method of [`Server`] for a built-in template; for each but `quota` the trait of its handlers, too.
macro_rules! built_in {
    ($package:ident by $method:ident: reports, $trait:ident::$handle:ident of $request:ident
     in $module:ident::{$service:ident, $server:ident}) => {
        template! {
            #[doc = concat!("Template `", stringify!($package), "`: all of a report at once.")]
            pub trait $trait { fn $handle(instances: Vec<$package::InstanceMsg>); }
            serves $package::$module::$service, sent $package::$request
        }
        built_in!($package by $method: $trait in $module::$server);
    };
    ($package:ident by $method:ident: answers $answer:ty, $trait:ident::$handle:ident of $request:ident
     in $module:ident::{$service:ident, $server:ident}) => {
        template! {
            #[doc = concat!("Template `", stringify!($package), "`: one instance, and an answer.")]
            pub trait $trait { fn $handle(instance: $package::InstanceMsg) -> $answer; }
            serves $package::$module::$service, sent $package::$request
        }
        built_in!($package by $method: $trait in $module::$server);
    };
    ($package:ident by $method:ident: $trait:ident in $module:ident::$server:ident) => {
        impl<A: Adapter<Handler: $trait>> Server<A> {
            #[doc = concat!("Serves the template `", stringify!($package), "`.")]
            #[must_use]
            pub fn $method(self) -> Self {
                self.template($package::$module::$server::new)
            }
        }
    };
}

built_in!(apikey by api_key: answers CheckResult,
    HandleApiKey::handle_api_key of HandleApiKeyRequest
    in handle_api_key_service_server::{HandleApiKeyService, HandleApiKeyServiceServer});
built_in!(authorization by authorization: answers CheckResult,
    HandleAuthorization::handle_authorization of HandleAuthorizationRequest
    in handle_authorization_service_server::{HandleAuthorizationService, HandleAuthorizationServiceServer});
built_in!(checknothing by check_nothing: answers CheckResult,
    HandleCheckNothing::handle_check_nothing of HandleCheckNothingRequest
    in handle_check_nothing_service_server::{HandleCheckNothingService, HandleCheckNothingServiceServer});
built_in!(edge by edge: reports,
    HandleEdge::handle_edge of HandleEdgeRequest
    in handle_edge_service_server::{HandleEdgeService, HandleEdgeServiceServer});
built_in!(kubernetes by kubernetes: answers kubernetes::OutputMsg,
    HandleKubernetes::handle_kubernetes of HandleKubernetesRequest
    in handle_kubernetes_service_server::{HandleKubernetesService, HandleKubernetesServiceServer});
built_in!(listentry by list_entry: answers CheckResult,
    HandleListEntry::handle_list_entry of HandleListEntryRequest
    in handle_list_entry_service_server::{HandleListEntryService, HandleListEntryServiceServer});
built_in!(logentry by log_entry: reports,
    HandleLogEntry::handle_log_entry of HandleLogEntryRequest
    in handle_log_entry_service_server::{HandleLogEntryService, HandleLogEntryServiceServer});
built_in!(metric by metric: reports,
    HandleMetric::handle_metric of HandleMetricRequest
    in handle_metric_service_server::{HandleMetricService, HandleMetricServiceServer});
built_in!(quota by quota: HandleQuota in handle_quota_service_server::HandleQuotaServiceServer);
built_in!(reportnothing by report_nothing: reports,
    HandleReportNothing::handle_report_nothing of HandleReportNothingRequest
    in handle_report_nothing_service_server::{HandleReportNothingService, HandleReportNothingServiceServer});
built_in!(tracespan by trace_span: reports,
    HandleTraceSpan::handle_trace_span of HandleTraceSpanRequest
    in handle_trace_span_service_server::{HandleTraceSpanService, HandleTraceSpanServiceServer});
