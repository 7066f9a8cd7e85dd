//! The fake Receiver alone, to point a proxy at by hand.

use std::{net::IpAddr, path::PathBuf, thread, time::Duration};

use clap::Parser;
use e2e::receiver::{Receiver, Settings};

/// Stores what a proxy uploads, checks it and prints what it got.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Write bodies below this folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings {
        address: arguments.address,
        port: arguments.port,
        folder: arguments.folder,
        ..Settings::default()
    };
    let receiver = Receiver::start(settings)?;
    println!("Receiver at {}", receiver.url());
    let (mut shown, mut complained) = (0, 0);
    loop {
        thread::sleep(Duration::from_secs(1));
        let uploads = receiver.uploads();
        if uploads != shown {
            shown = uploads;
            println!("{uploads} uploads, {} batches, {} lines", receiver.batches().len(), receiver.lines());
        }
        let violations = receiver.violations();
        for violation in violations.iter().skip(complained) {
            println!("WRONG: {violation}");
        }
        complained = violations.len();
    }
}
