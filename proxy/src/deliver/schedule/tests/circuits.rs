//! What an outage of the Receiver or a refused tenant means to others.

use super::*;

#[test]
fn w25_hanging_tenants_do_not_take_all_slots() {
    let mut world = World::new();
    for tenant in 0..40 {
        world.add(&format!("hung{tenant}/d"), 10);
    }
    assert_eq!(world.all().len(), 80);
    world.add("alive/d", 1);
    let job = world.wait(2.0).unwrap();
    assert!(world.all().len() < 80);
    assert!(
        job.key.tenant.as_str() == "alive"
            || world.schedule.jobs.values().any(|job| job.key == key("alive/d"))
    );
}

/// H-3: an outage of an hour on a fake clock ages nothing out: no job but probes.
#[test]
fn w7_h3_h4_one_probe_at_a_time_during_an_outage_then_all_go() {
    let mut world = World::new();
    world.add("a/one", 50);
    let first = world.all();
    for job in &first {
        assert!(!job.probe);
        world.end(job, &done(down(), Then::Later));
    }
    assert_eq!(world.circuits(), ["receiver"]);
    assert!(world.next().is_none());
    let outage_ends = world.now + Duration::from_hours(1);
    let mut probes = 0;
    while world.now < outage_ends {
        let probe = world.wait(20.0).unwrap();
        assert!(probe.probe && matches!(probe.task, Task::Upload(_)), "nothing is buried");
        assert!(world.next().is_none(), "one probe only");
        world.end(&probe, &done(down(), Then::Again));
        probes += 1;
    }
    assert!((200..500).contains(&probes), "{probes}");
    let probe = world.wait(20.0).unwrap();
    world.ok(&probe);
    assert!(world.circuits().is_empty());
    assert_eq!(world.all().len(), 5);
}

#[test]
fn a_success_releases_other_tenants_those_that_failed_prove_themselves_first() {
    let mut world = World::new();
    world.add("a/one", 20);
    world.add("b/one", 20);
    world.add("c/one", 20);
    let jobs = world.all();
    for job in jobs.iter().filter(|job| job.key.tenant.as_str() != "c") {
        world.end(job, &done(down(), Then::Later));
    }
    assert_eq!(world.circuits(), ["receiver"]);
    world.ok(jobs.iter().find(|job| job.key.tenant.as_str() == "c").unwrap());
    assert_eq!(world.circuits(), ["tenant a", "tenant b"]);
    let jobs = world.all();
    let of = |tenant: &str| jobs.iter().filter(|job| job.key.tenant.as_str() == tenant).count();
    assert_eq!((of("a"), of("b"), of("c")), (1, 1, 1));
    for job in jobs.iter().filter(|job| job.probe) {
        world.ok(job);
    }
    assert!(world.circuits().is_empty());
    assert_eq!(world.all().len(), 10);
}

#[test]
fn w25_one_tenant_refused_for_an_hour_never_delays_another() {
    let mut world = World::new();
    world.add("dead/one", 500);
    let mut attempts = 0;
    for round in 0..360 {
        let deadline = world.now + Duration::from_secs(10);
        world.add("alive/one", 1);
        let since = world.now;
        let mut delivered = false;
        while world.now < deadline {
            let rest = (deadline - world.now).as_secs_f64();
            let Some(job) = world.wait(rest) else { break };
            if job.key.tenant.as_str() == "alive" {
                assert!(world.now - since < Duration::from_secs(1), "round {round}: {:?}", world.now - since);
                delivered = true;
                world.ok(&job);
            } else if job.probe {
                world.end(&job, &done(down(), Then::Again));
            } else {
                attempts += 1;
                world.end(&job, &done(down(), Then::Later));
            }
        }
        assert!(delivered, "round {round}");
    }
    assert!(attempts <= 10, "{attempts}: an outage must not use up attempts");
}

#[test]
fn w25_a_tenant_whose_uploads_hang_never_delays_another() {
    let mut world = World::new();
    world.add("hung/one", 100);
    let mut hanging: VecDeque<(Instant, Job)> = VecDeque::new();
    let mut sent = BTreeMap::new();
    for _ in 0..400 {
        world.add("alive/one", 1);
        sent.insert(world.next_stamp - 1, world.now);
        for _ in 0..10 {
            while let Some((_, job)) = hanging.pop_front_if(|(at, _)| *at <= world.now) {
                let then = if job.probe { Then::Again } else { Then::Later };
                world.end(&job, &done(Answer::Unavailable(failure(Reason::Timeout), None), then));
            }
            for job in world.all() {
                if job.key.tenant.as_str() == "hung" {
                    hanging.push_back((world.now + Duration::from_secs(30), job));
                } else {
                    let delay = world.now - sent.remove(&stamp_of(&job)).unwrap();
                    assert!(delay < Duration::from_secs(2), "{delay:?}");
                    world.ok(&job);
                }
            }
            world.pass(0.5);
        }
    }
    assert!(sent.len() <= 1, "{}", sent.len());
}

#[test]
fn w8_after_401_all_follow_into_the_dlq_and_one_accepted_probe_brings_them_back() {
    let mut world = World::new();
    world.add("a/one", 20);
    world.add("a/two", 20);
    world.add("b/one", 1);
    let refused = |tenant| Answer::Refused { tenant, failure: failure(Reason::Unauthorized) };
    let mut uploads = 0;
    while let Some(job) = world.next() {
        match (&job.task, job.key.tenant.as_str()) {
            (Task::Upload(_), "b") => world.ok(&job),
            (Task::Upload(_), _) => {
                uploads += 1;
                world.bury(&job, refused(true));
            }
            (Task::Bury(..), "a") => world.bury(&job, Answer::Nothing),
            _ => panic!("{job:?}"),
        }
    }
    assert_eq!(uploads, 1);
    assert_eq!(world.circuits(), ["tenant a"]);
    assert_eq!(world.spool[&key("a/two")].values().filter(|entry| entry.state == State::Dlq).count(), 20);
    for _ in 0..5 {
        let probe = world.wait(90.0).unwrap();
        assert!(matches!(probe.task, Task::DlqProbe(_)) && probe.probe);
        let then = Then::Dlq { cursor: None, end: false, returned: 0 };
        world.end(&probe, &done(refused(true), then));
    }
    let probe = world.wait(90.0).unwrap();
    world.end(&probe, &done(Answer::Accepted, Then::Dlq { cursor: None, end: false, returned: 1 }));
    assert!(world.circuits().is_empty());
    let returns = world.all();
    assert_eq!(returns.len(), 2);
    assert!(returns.iter().all(|job| matches!(job.task, Task::Return { after: None, limit: RETURN_MAX })));
}

#[test]
fn h1_an_unknown_dataset_concerns_that_dataset_alone() {
    let mut world = World::new();
    world.add("a/new", 3);
    world.add("a/old", 3);
    let jobs = world.all();
    for job in &jobs {
        if job.key == key("a/new") {
            let failure = failure(Reason::UnknownDataset);
            world.bury(job, Answer::Refused { tenant: false, failure });
        } else {
            world.ok(job);
        }
    }
    assert_eq!(world.circuits(), ["dataset a new"]);
    world.add("a/old", 1);
    world.add("a/new", 1);
    let jobs = world.all();
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert!(jobs.iter().all(|job| matches!(job.task, Task::Bury(..)) == (job.key == key("a/new"))));
}

#[test]
fn retry_after_is_honoured() {
    let mut world = World::new();
    world.add("a/one", 2);
    let jobs = world.all();
    let wait = Some(Duration::from_secs(100));
    world.end(&jobs[0], &done(Answer::Unavailable(failure(Reason::TooManyRequests), wait), Then::Later));
    world.end(&jobs[1], &done(Answer::Unavailable(failure(Reason::TooManyRequests), None), Then::Again));
    world.add("a/two", 1);
    assert!(world.wait(99.0).is_none());
    assert!(world.wait(2.0).unwrap().probe);
}

#[test]
fn no_token_waits_and_a_new_configuration_tries_at_once() {
    let mut world = World::new();
    world.add("a/one", 3);
    for job in world.all() {
        world.end(&job, &done(Answer::NoToken(failure(Reason::NoToken)), Then::Again));
    }
    for _ in 0..10 {
        let job = world.wait(30.0).unwrap();
        world.end(&job, &done(Answer::NoToken(failure(Reason::NoToken)), Then::Again));
    }
    assert_eq!(world.circuits(), ["tenant a"]);
    assert!(world.next().is_none());
    let settings = world.schedule.settings.clone();
    world.schedule.configure(settings, false, world.now);
    let job = world.next().unwrap();
    assert_eq!(stamp_of(&job), 1);
    world.ok(&job);
    assert_eq!(world.all().len(), 2);
}

#[test]
fn h4_a_single_batch_probes_soon_after_the_failure_that_opened_the_circuit() {
    let mut world = World::new();
    world.add("a/one", 2);
    let jobs = world.all();
    world.end(&jobs[0], &done(down(), Then::Later));
    world.end(&jobs[1], &done(down(), Then::Later));
    for stamp in [1, 2, 1] {
        let probe = world.wait(5.0).unwrap();
        assert!(probe.probe && stamp_of(&probe) == stamp, "in turn");
        world.end(&probe, &done(down(), Then::Again));
    }
    let probe = world.wait(10.0).unwrap();
    world.ok(&probe);
    // The other one is tried again as an attempt: retry_interval after the last one.
    assert!(world.wait(30.0).is_none());
    let job = world.wait(30.0).unwrap();
    assert!(!job.probe && stamp_of(&job) == 1);
}
