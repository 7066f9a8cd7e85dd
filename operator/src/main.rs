//! The operator's command line.

use std::process::ExitCode;

use anyhow::Context as _;
use bytefreezer_operator::{definitions, run, send_test};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Runs ByteFreezer proxies on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "bytefreezer-operator", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look after Proxies and ProxyDatasets.
    Run(run::Options),
    /// The definitions of Proxy and ProxyDataset.
    Crds {
        #[command(subcommand)]
        what: Crds,
    },
    /// Send an event to a dataset and wait until it was delivered.
    SendTest(send_test::Arguments),
}

#[derive(Debug, Subcommand)]
enum Crds {
    /// Bring them to the cluster, new or changed, and wait until they are served.
    Apply,
    /// Print them as YAML.
    Print,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => {
            log();
            run::run(options).await
        }
        Command::Crds { what } => bring(what).await,
        Command::SendTest(arguments) => send_test(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says each failed request a second time, as an error, also where it is none (a write that the fence holds back): whoever
/// asked says it with what it means.
const CLIENT: &str = "kube_client::client";

/// One JSON object a line, on standard output; RUST_LOG says how much.
fn log() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter(&wanted)).init();
}

/// What is logged, with `info` for nothing and for what is no filter. The client is silent unless it is asked for.
fn filter(wanted: &str) -> EnvFilter {
    let with = |wanted: &str| EnvFilter::try_new(format!("{CLIENT}=off,{wanted}"));
    let is_asked_for = wanted.contains("kube_client");
    let filter = match wanted {
        "" => with("info"),
        _ if is_asked_for => EnvFilter::try_new(wanted),
        _ => with(wanted),
    };
    filter.or_else(|_| with("info")).unwrap_or_default()
}

async fn send_test(arguments: &send_test::Arguments) -> anyhow::Result<()> {
    println!("{}", send_test::run(arguments).await?);
    Ok(())
}

async fn bring(what: Crds) -> anyhow::Result<()> {
    match what {
        Crds::Print => {
            for crd in bytefreezer_crds::crds()? {
                print!("---\n{}", bytefreezer_crds::yaml(&crd)?);
            }
        }
        Crds::Apply => {
            let client = kube::Client::try_default()
                .await
                .context("no cluster: set KUBECONFIG, or run in a pod with a service account")?;
            for name in definitions::apply(&client).await? {
                println!("{name} is served");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_silent_unless_it_is_asked_for() {
        for wanted in ["", "info", "debug,bytefreezer_operator=trace", "what is this="] {
            let filter = filter(wanted).to_string();
            assert!(filter.contains("kube_client::client=off"), "{wanted}: {filter}");
        }
        assert!(
            filter("debug,bytefreezer_operator=trace").to_string().contains("bytefreezer_operator=trace")
        );
        assert!(!filter("info,kube_client=debug").to_string().contains("off"));
    }
}
