//! Calls the back end.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::checknothing::handle_check_nothing_service_client::HandleCheckNothingServiceClient;
use mesh_api::checknothing::{self, HandleCheckNothingRequest};
use mesh_api::istio::mixer::adapter::model::v1beta1::QuotaRequest;
use mesh_api::istio::mixer::adapter::model::v1beta1::quota_request::QuotaParams;
use mesh_api::metric::HandleMetricRequest;
use mesh_api::metric::handle_metric_service_client::HandleMetricServiceClient;
use mesh_api::quota::HandleQuotaRequest;
use mesh_api::quota::handle_quota_service_client::HandleQuotaServiceClient;
use mesh_api::reportnothing::handle_report_nothing_service_client::HandleReportNothingServiceClient;
use mesh_api::reportnothing::{self, HandleReportNothingRequest};
use mixer_adapter::{
    Answer, CheckResult, HandleCheckNothing, HandleMetric, HandleQuota, HandleReportNothing, HandlerError,
    QuotaArgs, QuotaResult,
};
use mixer_attribute::span;
use mixer_template::{CheckNothing, Metric, Quota, ReportNothing};

use super::backend::Backend;
use super::instance;

#[derive(Debug)]
pub(super) struct Bypassed(pub(super) Arc<Backend>);

impl HandleCheckNothing for Bypassed {
    fn handle_check_nothing(&self, instance: &CheckNothing<'_>) -> Answer<CheckResult> {
        let request = HandleCheckNothingRequest {
            instance: Some(checknothing::InstanceMsg {
                name: instance.name.to_owned(),
            }),
            adapter_config: self.0.adapter_config(),
            dedup_id: self.0.call_id(),
        };
        let mut client = HandleCheckNothingServiceClient::new(self.0.channel.clone());
        Answer::Later(Box::pin(async move {
            let answer = client
                .handle_check_nothing(request)
                .await
                .map_err(|status| failed(&status))?;
            let answer = answer.into_inner();
            Ok(CheckResult {
                status: answer.status.unwrap_or_default(),
                valid_duration: duration(answer.valid_duration),
                valid_use_count: answer.valid_use_count,
            })
        }))
    }
}

impl HandleQuota for Bypassed {
    fn handle_quota(&self, instance: &Quota<'_>, args: &QuotaArgs) -> Answer<QuotaResult> {
        let name = instance.name.to_owned();
        let asked = QuotaParams {
            amount: args.amount,
            best_effort: args.best_effort,
        };
        let request = HandleQuotaRequest {
            instance: Some(instance::quota(instance)),
            adapter_config: self.0.adapter_config(),
            dedup_id: args.deduplication_id.clone(),
            quota_request: Some(QuotaRequest {
                quotas: [(name.clone(), asked)].into(),
            }),
        };
        let mut client = HandleQuotaServiceClient::new(self.0.channel.clone());
        Answer::Later(Box::pin(async move {
            let answer = client
                .handle_quota(request)
                .await
                .map_err(|status| failed(&status))?;
            let granted = answer.into_inner().quotas.remove(&name);
            let granted = granted
                .ok_or_else(|| HandlerError::new(format!("the back end does not answer for {name}")))?;
            Ok(QuotaResult {
                valid_duration: duration(granted.valid_duration),
                amount: granted.granted_amount,
                ..QuotaResult::default()
            })
        }))
    }
}

impl HandleMetric for Bypassed {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let request = HandleMetricRequest {
            instances: instances.iter().map(instance::metric).collect(),
            adapter_config: self.0.adapter_config(),
            dedup_id: self.0.call_id(),
        };
        let mut client = HandleMetricServiceClient::new(self.0.channel.clone());
        Answer::Later(Box::pin(async move {
            client
                .handle_metric(request)
                .await
                .map_err(|status| failed(&status))?;
            Ok(())
        }))
    }
}

impl HandleReportNothing for Bypassed {
    fn handle_report_nothing(&self, instances: &[ReportNothing<'_>]) -> Answer<()> {
        let instances = instances.iter().map(|instance| reportnothing::InstanceMsg {
            name: instance.name.to_owned(),
        });
        let request = HandleReportNothingRequest {
            instances: instances.collect(),
            adapter_config: self.0.adapter_config(),
            dedup_id: self.0.call_id(),
        };
        let mut client = HandleReportNothingServiceClient::new(self.0.channel.clone());
        Answer::Later(Box::pin(async move {
            client
                .handle_report_nothing(request)
                .await
                .map_err(|status| failed(&status))?;
            Ok(())
        }))
    }
}

fn failed(status: &tonic::Status) -> HandlerError {
    HandlerError::new(format!("{}: {}", status.code(), status.message()))
}

/// One that is missing or negative is 0.
fn duration(given: Option<prost_types::Duration>) -> Duration {
    given.as_ref().and_then(span).unwrap_or_default()
}
