//! A Receiver and a proxy with one HTTP input, and what a person could see of both.

use std::{fs, path::PathBuf, time::Duration};

use e2e::{
    free_port,
    http::{Answer, Client},
    load::{self, Progress, Shape},
    process::{self, Proxy},
    receiver::{Receiver, Settings},
    sequence::{Promised, Sent},
    until,
};
use serde_json::{Value, json};

use super::{LIMIT, events, input, plan};

/// One input, `hooks` of tenant `acme`, on `port`.
pub struct World {
    pub receiver: Receiver,
    pub proxy: Proxy,
    pub port: u16,
}

impl World {
    /// Not started yet.
    pub fn prepare(config: &Value) -> Self {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let port = free_port().unwrap();
        let mut all = json!({"inputs": [input("http", "hooks", port, &json!({"data_hint": "ndjson"}))]});
        process::merge(&mut all, config);
        let proxy = Proxy::prepare(&receiver.url(), &all).unwrap();
        Self { receiver, proxy, port }
    }

    /// Started.
    pub fn start(config: &Value) -> Self {
        let mut world = Self::prepare(config);
        world.proxy.run().unwrap();
        world
    }

    /// A client of the input.
    pub fn client(&self) -> Client {
        Client::new(([127, 0, 0, 1], self.port).into())
    }

    /// One body.
    pub fn post(&self, body: &[u8]) -> Answer {
        self.client().post("/webhook", body).unwrap()
    }

    /// Numbered events, ten a request.
    pub fn send(&self, stream: u16, count: u64) -> Sent {
        let plan = plan(self.port, Shape::Json, stream, count, 0);
        load::http(&plan, "/webhook", 10, &Progress::default()).unwrap()
    }

    /// The same, every one of them acknowledged.
    pub fn send_all(&self, stream: u16, count: u64) -> Sent {
        let sent = self.send(stream, count);
        assert_eq!(sent.promised(), count, "{}", self.proxy.log_text());
        sent
    }

    /// Sends single numbered events until one is refused, which is returned.
    pub fn send_until_refused(&self, stream: u16, size: usize) -> (Sent, Answer) {
        let mut client = self.client();
        let mut acknowledged = Vec::new();
        for number in 0..100_000 {
            let answer = client.post("/webhook", &load::event(Shape::Json, stream, number, size)).unwrap();
            if answer.status != 200 {
                let promised = Promised::These(acknowledged);
                return (Sent { stream, attempted: number + 1, promised }, answer);
            }
            acknowledged.push(number);
        }
        panic!("nothing was refused: {}", events(&self.proxy));
    }

    /// The status page.
    pub fn status(&self) -> Value {
        self.proxy.json("/api/v1/status").unwrap()
    }

    /// Events in a place; the identity is checked.
    pub fn place(&self, name: &str) -> u64 {
        events(&self.proxy)[name].as_u64().unwrap()
    }

    /// Waits until `count` events are in a place.
    pub fn wait_place(&self, name: &str, count: u64) {
        until(LIMIT, &format!("{count} events in {name}"), || (self.place(name) == count).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&self.proxy), self.proxy.log_text()));
    }

    /// Waits until `count` events are in closed batches that were not delivered yet.
    pub fn wait_backlog(&self, count: u64) {
        let waiting = || self.place("queued") + self.place("retry") == count;
        until(LIMIT, &format!("a backlog of {count}"), || waiting().then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&self.proxy), self.proxy.log_text()));
    }

    /// Waits until the health page names a problem with this text.
    pub fn wait_problem(&self, text: &str) {
        let found = || {
            let health = self.proxy.json("/api/v1/health").ok()?;
            (health["status"] == "degraded" && health["problems"].to_string().contains(text)).then_some(())
        };
        until(LIMIT, &format!("the problem {text:?}"), found).unwrap_or_else(|error| {
            panic!("{error}: {}\n{}", self.status()["problems"], self.proxy.log_text())
        });
    }

    /// Waits until nothing is wrong any more.
    pub fn wait_healthy(&self) {
        until(LIMIT, "health", || {
            (self.proxy.json("/api/v1/health").ok()?["status"] == "healthy").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", self.status()["problems"]));
        assert_eq!(self.proxy.get("/readyz").unwrap().status, 200);
    }

    /// Waits for a log line of a level with this text.
    pub fn wait_log(&self, level: &str, text: &str) -> String {
        let level = format!("\"level\":\"{level}\"");
        let found = || self.proxy.log().into_iter().find(|line| line.contains(&level) && line.contains(text));
        until(LIMIT, &format!("{level} {text:?} in the log"), found)
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.proxy.log_text()))
    }

    /// A counter or gauge, without prefix.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.proxy.metric(&format!("bytefreezer_proxy_{name}"), labels).unwrap()
    }

    /// Waits until a counter or gauge has this value at least.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], least: f64) {
        until(LIMIT, &format!("{name} {labels:?} {least}"), || {
            (self.metric(name, labels) >= least).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", self.metric(name, labels)));
    }

    /// A folder of the process's part of the spool.
    pub fn part(&self, name: &str) -> PathBuf {
        self.proxy.spool().join(".instance-0").join(name)
    }

    /// Files of a dataset of `acme` whose names end so.
    pub fn files(&self, tree: &str, dataset: &str, end: &str) -> Vec<PathBuf> {
        let Ok(listed) = fs::read_dir(self.part(tree).join("acme").join(dataset)) else { return Vec::new() };
        let paths = listed.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_str().unwrap().ends_with(end)).collect()
    }

    /// Waits until everything was delivered and nothing is wrong, and checks it.
    pub fn all_arrives(&self, sent: &[Sent]) {
        super::all_delivered(&self.receiver, sent, Duration::from_mins(1));
        self.wait_healthy();
    }
}
