//! Ways into an API server: files for programs, clients for tests, kubectl for what users type.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::certificates::Pair;
use crate::provision;

/// Somebody who may call an API server, and how: a kubeconfig file.
#[derive(Clone, Debug)]
pub struct Access {
    path: PathBuf,
    kubeconfig: Value,
}

// === impl Access ===

impl Access {
    /// The administrator, whom no rule stops.
    pub(super) fn admin(folder: &Path, url: &str, authority: &str, admin: &Pair) -> Result<Self> {
        let user = json!({
            "client-certificate-data": BASE64.encode(&admin.certificate),
            "client-key-data": BASE64.encode(&admin.key),
        });
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "clusters": [{ "name": "test", "cluster": {
                "server": url, "certificate-authority-data": BASE64.encode(authority),
            } }],
            "users": [{ "name": "test", "user": user }],
        });
        Self::write(folder, "admin", kubeconfig)
    }

    fn write(folder: &Path, name: &str, kubeconfig: Value) -> Result<Self> {
        let path = folder.join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        // JSON is YAML too.
        fs::write(&path, serde_json::to_vec_pretty(&kubeconfig)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, kubeconfig })
    }

    /// The same server for another user, who may do nothing until roles are bound to the user or one of the groups.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn as_user(&self, user: &str, groups: &[&str]) -> Result<Self> {
        let mut kubeconfig = self.kubeconfig.clone();
        let credentials = &mut kubeconfig["users"][0]["user"];
        credentials["as"] = json!(user);
        credentials["as-groups"] = json!(groups);
        self.sibling(user, kubeconfig)
    }

    /// The same server for a service account that exists, with a token of its own, as in a pod.
    ///
    /// # Errors
    ///
    /// When the server issues no token.
    pub async fn as_service_account(&self, namespace: &str, name: &str) -> Result<Self> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let answer: TokenRequest = accounts
            .create_subresource("token", name, &params, &request)
            .await?;
        let token = answer.status.context("the token has no status")?.token;
        let mut kubeconfig = self.kubeconfig.clone();
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        self.sibling(&format!("{namespace}-{name}"), kubeconfig)
    }

    /// The same user at another address of the server, such as one that a test can cut off.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn at(&self, url: &str) -> Result<Self> {
        let mut kubeconfig = self.kubeconfig.clone();
        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        cluster["server"] = json!(url);
        // By whatever address it is called, its certificate says this.
        cluster["tls-server-name"] = json!("localhost");
        let name = url.rsplit(':').next().unwrap_or_default();
        self.sibling(&format!("at-{name}"), kubeconfig)
    }

    fn sibling(&self, name: &str, kubeconfig: Value) -> Result<Self> {
        let folder = self.path.parent().context("a file is in a folder")?;
        Self::write(folder, name, kubeconfig)
    }

    /// The file, as programs take it by `--kubeconfig`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.path
    }

    /// What clients are made from. Nothing is retried behind the back of a test.
    ///
    /// # Errors
    ///
    /// Never for a file that was written by us.
    pub async fn config(&self) -> Result<Config> {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig.clone())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(config)
    }

    /// A client, which belongs to the runtime that it is made in.
    ///
    /// # Errors
    ///
    /// When none can be made; the server is not asked.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// kubectl for this user, to which arguments are still to be given.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::kubectl`]).
    pub fn kubectl_command(&self) -> Result<Command> {
        let mut command = Command::new(provision::kubectl()?);
        command.arg("--kubeconfig").arg(&self.path);
        // What it has learnt about other servers at the same port is not true here.
        let folder = self.path.parent().context("a file is in a folder")?;
        command.arg("--cache-dir").arg(folder.join("kubectl"));
        Ok(command)
    }

    /// Runs kubectl as a line of a shell has it, arguments separated by blanks, with an input; what it prints.
    ///
    /// # Errors
    ///
    /// What it says when it fails.
    pub async fn run(&self, line: &str, input: &str) -> Result<String> {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.kubectl(&args, input).await
    }

    /// Lets a group do something in a namespace: a role and its binding, both of this name.
    ///
    /// # Errors
    ///
    /// What kubectl says.
    pub async fn allow(
        &self,
        namespace: &str,
        name: &str,
        group: &str,
        verbs: &str,
        resource: &str,
    ) -> Result<()> {
        let role = format!("create role {name} -n {namespace} --verb={verbs} --resource={resource}");
        self.run(&role, "").await?;
        let binding = format!("create rolebinding {name} -n {namespace} --role={name} --group={group}");
        self.run(&binding, "").await?;
        Ok(())
    }

    /// Runs kubectl with an input, such as `["apply", "-f", "-"]`; what it prints.
    ///
    /// # Errors
    ///
    /// What it says when it fails.
    pub async fn kubectl(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command()?;
        command.args(args);
        output(command, &format!("kubectl {}", args.join(" ")), input).await
    }

    /// Runs Helm, such as `["install", "istio", "charts/istio", "--namespace", "istio-system"]`; what it prints. What it knows
    /// outside of the server it knows from the folder of this user alone.
    ///
    /// # Errors
    ///
    /// When the program cannot be provided ([`provision::helm`]), and what it says when it fails.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        // The first time this builds a program.
        let program = tokio::task::spawn_blocking(provision::helm).await??;
        let folder = self.path.parent().context("a file is in a folder")?;
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.path).args(args);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, folder.join("helm"));
        }
        output(command, &format!("helm {}", args.join(" ")), "").await
    }
}

/// Runs a program with an input; what it prints, or says when it fails.
async fn output(mut command: Command, shown: &str, input: &str) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // Beside its output, which may be as long. It may not read to the end.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output()
        })
    })
    .await??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{shown}: {}{text}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}
