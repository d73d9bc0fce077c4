//! An adapter that does what the message of its status says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_api::adapter::denier::config::Params;
use mixer_adapter::{
    Adapter, Answer, BuildError, CheckResult, ConfigErrors, Env, Handle, HandleCheckNothing,
    HandleKubernetes, HandleMetric, HandleQuota, Handler, Inferred, Info, QuotaArgs, QuotaResult,
};
use mixer_template::{CheckNothing, Kubernetes, KubernetesOutput, KubernetesSide, Metric, Quota, Template};
use tokio::sync::Barrier;

/// What a test writes into the journal of handlers that are built when they may be.
pub(crate) const MAY_BE_BUILT: &str = "may be built";

/// What happened, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

/// The adapter. It is called after one whose parameters it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obedient(pub(crate) Journal);

struct AtWork {
    params: Params,
    journal: Journal,
    env: Env,
    three: Arc<Barrier>,
}

impl Journal {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Adapter for Obedient {
    type Params = Params;

    const INFO: Info = Info {
        name: "denier",
        description: "does what the message of its status says",
        templates: &[
            Template::CheckNothing,
            Template::Kubernetes,
            Template::Metric,
            Template::Quota,
        ],
    };

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        if params.valid_use_count < 0 {
            errors.push("validUseCount", "is negative");
        }
        errors
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let journal = self.0.clone();
        let does = params.status.clone().unwrap_or_default().message;
        match does.as_str() {
            "cannot be built" => return Err(BuildError("nobody is there".to_owned())),
            "is built when it may be" if !journal.lines().contains(&MAY_BE_BUILT.to_owned()) => {
                return Err(BuildError("it may not be".to_owned()));
            }
            "panics when built" => panic!("as it was told"),
            "is never built" => std::future::pending().await,
            _ => {}
        }
        journal.write(format!("built {}", env.handler()));
        let name = env.handler().to_owned();
        let closed = journal.clone();
        let three = Arc::new(Barrier::new(3));
        let at_work = Arc::new(AtWork {
            params,
            journal,
            env,
            three,
        });
        Ok(Handler::default()
            .with(Handle::CheckNothing(at_work.clone()))
            .with(Handle::Kubernetes(at_work.clone()))
            .with(Handle::Metric(at_work.clone()))
            .with(Handle::Quota(at_work))
            .on_close(move || async move { closed.write(format!("closed {name}")) }))
    }
}

impl AtWork {
    fn does(&self) -> String {
        self.params.status.clone().unwrap_or_default().message
    }
}

impl HandleCheckNothing for AtWork {
    fn handle_check_nothing(&self, instance: &CheckNothing<'_>) -> Answer<CheckResult> {
        self.journal.write(format!("check {}", instance.name));
        let does = self.does();
        let params = self.params.clone();
        let result = move || CheckResult {
            status: params.status.unwrap_or_default(),
            valid_duration: Duration::from_secs(5),
            valid_use_count: params.valid_use_count,
        };
        match does.as_str() {
            "panics" => panic!("as it was told"),
            "starts a daemon" => {
                self.env.spawn(std::future::pending());
                Answer::Now(Ok(result()))
            }
            "fails" => Answer::failed("as it was told"),
            "panics later" => Answer::Later(Box::pin(async { panic!("as it was told") })),
            "never answers" => Answer::Later(Box::pin(std::future::pending())),
            "answers later" => Answer::Later(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(result())
            })),
            _ => Answer::Now(Ok(result())),
        }
    }
}

impl HandleQuota for AtWork {
    fn handle_quota(&self, instance: &Quota<'_>, args: &QuotaArgs) -> Answer<QuotaResult> {
        self.journal
            .write(format!("quota {} {:?}", instance.name, args.deduplication_id));
        if self.does() == "fails" {
            return Answer::failed("as it was told");
        }
        Answer::Now(Ok(QuotaResult {
            amount: args.amount.min(i64::from(self.params.valid_use_count)),
            valid_duration: Duration::from_secs(1),
            ..QuotaResult::default()
        }))
    }
}

impl HandleMetric for AtWork {
    fn handle_metric(&self, instances: &[Metric<'_>]) -> Answer<()> {
        let of = |metric: &Metric<'_>| {
            let dimensions: Vec<_> = metric
                .dimensions
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            dimensions.join(",")
        };
        let all: Vec<_> = instances.iter().map(of).collect();
        self.journal.write(format!("metric {}", all.join(" ")));
        match self.does().as_str() {
            "fails" => Answer::failed("as it was told"),
            _ => Answer::done(),
        }
    }
}

impl HandleKubernetes for AtWork {
    fn handle_kubernetes(&self, instance: &Kubernetes<'_>) -> Answer<KubernetesOutput> {
        self.journal
            .write(format!("kubernetes {}", &*instance.source_uid));
        if self.does() == "fails" {
            return Answer::failed("as it was told");
        }
        let together = (self.does() == "answers three together").then(|| Arc::clone(&self.three));
        let source = KubernetesSide {
            pod_name: Some(format!("pod-of-{}", &*instance.source_uid).into()),
            namespace: Some("found".to_owned().into()),
            ..KubernetesSide::default()
        };
        let output = KubernetesOutput {
            source,
            ..KubernetesOutput::default()
        };
        match together {
            None => Answer::Now(Ok(output)),
            Some(three) => Answer::Later(Box::pin(async move {
                three.wait().await;
                Ok(output)
            })),
        }
    }
}
