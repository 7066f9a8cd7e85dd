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

/// One JSON object a line, on standard output; RUST_LOG says how much.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
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
