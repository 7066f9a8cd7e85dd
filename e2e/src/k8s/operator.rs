//! The operator, installed by the chart.

use std::{env, path::Path, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Namespace,
    cluster::{helm, helm_with, images},
};
use crate::process::merge;

/// Name of the release.
const RELEASE: &str = "bf";

/// An installed chart; goes with its value.
pub struct Operator<'a> {
    namespace: &'a Namespace,
    installed: bool,
}

impl<'a> Operator<'a> {
    /// `helm install` into a namespace, with values over those that name the images.
    pub fn install(namespace: &'a Namespace, values: &Value) -> Result<Self> {
        // So that a failed installation is removed, too.
        let operator = Self { namespace, installed: true };
        operator.helm("install", values)?;
        Ok(operator)
    }

    /// `helm upgrade`.
    pub fn upgrade(&self, values: &Value) -> Result<()> {
        self.helm("upgrade", values)
    }

    fn helm(&self, command: &str, values: &Value) -> Result<()> {
        let (registry, tag) = images()?;
        let mut all = json!({"image": {"registry": registry, "tag": tag, "pullPolicy": "Never"}});
        merge(&mut all, values);
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/bytefreezer-proxy");
        let chart = chart.display().to_string();
        let arguments = [command, RELEASE, &chart, "--values", "-", "--wait", "--timeout", "120s"];
        helm_with(&[&["--namespace", self.namespace.name()][..], &arguments].concat(), &all.to_string())?;
        Ok(())
    }

    /// Another process takes its place. Returns once the one before is gone.
    pub fn restart(&self) -> Result<()> {
        let deployment = format!("deployment/{}", self.deployment());
        self.namespace.kubectl(&["rollout", "restart", &deployment])?;
        self.namespace.kubectl(&["rollout", "status", &deployment, "--timeout", "120s"])?;
        let own =
            ["get", "pods", "--selector", "app.kubernetes.io/name=bytefreezer-operator", "--output", "name"];
        self.namespace.until(Duration::from_mins(1), "the end of the operator before", || {
            Ok((self.namespace.kubectl(&own)?.lines().count() == 1).then_some(()))
        })
    }

    /// `helm test`; what it prints.
    pub fn test(&self) -> Result<String> {
        helm(&["--namespace", self.namespace.name(), "test", RELEASE, "--logs"])
    }

    /// `helm uninstall`.
    pub fn uninstall(&mut self) -> Result<()> {
        self.installed = false;
        helm(&["--namespace", self.namespace.name(), "uninstall", RELEASE, "--wait", "--timeout", "60s"])?;
        Ok(())
    }

    /// Name of the deployment.
    pub fn deployment(&self) -> String {
        format!("{RELEASE}-bytefreezer-operator")
    }

    /// What its pods logged.
    pub fn logs(&self) -> Result<String> {
        let deployment = format!("deployment/{}", self.deployment());
        self.namespace.kubectl(&["logs", &deployment, "--all-pods", "--tail", "-1"])
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operator's log:\n{}", self.logs().unwrap_or_else(|error| format!("{error:#}")));
        }
        if self.installed
            && env::var_os("E2E_KEEP").is_none()
            && let Err(error) = self.uninstall()
        {
            eprintln!("the release stays: {error:#}");
        }
    }
}
