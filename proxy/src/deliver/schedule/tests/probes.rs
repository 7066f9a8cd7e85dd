//! Who probes, and with what: nobody waits behind a batch that gets no answer or an upload that hangs.

use super::*;

fn refused() -> Answer {
    Answer::Refused { tenant: true, failure: failure(Reason::Unauthorized) }
}

fn all_in_dlq(world: &mut World, name: &str) {
    world.spool.get_mut(&key(name)).unwrap().values_mut().for_each(|entry| entry.state = State::Dlq);
}

/// W-25: the oldest batch of a dataset never gets an answer, whether as a probe or not.
#[test]
fn w25_a_batch_that_never_gets_an_answer_holds_up_itself_only() {
    for another_tenant in [false, true] {
        let mut world = World::new();
        world.add("a/one", 1);
        let (mut attempts, mut buried) = (0, false);
        for round in 0..20 {
            world.add("a/one", 3);
            if another_tenant {
                world.add("b/one", 1);
            }
            let end = world.now + Duration::from_mins(2);
            while world.now < end {
                let rest = (end - world.now).as_secs_f64();
                let Some(job) = world.wait(rest) else { break };
                if stamp_of(&job) != 1 {
                    world.ok(&job);
                } else if job.probe {
                    world.end(&job, &done(down(), Then::Again));
                } else {
                    attempts += 1;
                    buried = attempts == 5;
                    if buried {
                        world.bury(&job, down());
                    } else {
                        world.end(&job, &done(down(), Then::Later));
                    }
                }
                if buried {
                    all_in_dlq(&mut world, "a/one");
                    break;
                }
            }
            let left = world.spool[&key("a/one")].values().filter(|entry| entry.stamp.0 > 1).count();
            assert!(buried || left == 0, "round {round}: {left} wait behind one");
            if buried {
                break;
            }
        }
        assert!(buried, "its attempts come to an end");
    }
}

/// W-25: a probe is given to somebody who can send it.
#[test]
fn w25_probing_goes_on_beside_a_hung_upload() {
    let mut world = World::new();
    world.add("a/one", 1);
    let hung = world.next().unwrap();
    world.add("b/one", 1);
    let job = world.next().unwrap();
    world.end(&job, &done(down(), Then::Later));
    assert_eq!(world.circuits(), ["receiver"]);
    // Not failed yet, so it would be preferred; but its first upload hangs.
    world.add("a/one", 1);
    for _ in 0..3 {
        let probe = world.wait(20.0).expect("somebody probes");
        assert_eq!(probe.key, key("b/one"));
        world.end(&probe, &done(down(), Then::Again));
    }
    world.ok(&hung);
    assert!(world.wait(5.0).is_some());
}

#[test]
fn w25_probing_goes_on_beside_a_tenant_that_has_no_slot() {
    let mut world = World::new();
    world.schedule.settings.per_tenant = 1;
    for name in ["a/one", "a/two", "c/one"] {
        world.add(name, 1);
    }
    for job in world.all() {
        world.end(&job, &done(down(), Then::Later));
    }
    // A probe of a's hangs; its other dataset waits for the same slot.
    let hangs = |world: &mut World| {
        let probe = world.wait(5.0).unwrap();
        let hangs = probe.key.tenant.as_str() == "a";
        if !hangs {
            world.end(&probe, &done(down(), Then::Again));
        }
        hangs
    };
    assert!(hangs(&mut world) || hangs(&mut world));
    for _ in 0..3 {
        let probe = world.wait(20.0).expect("somebody probes");
        assert_eq!(probe.key, key("c/one"));
        world.end(&probe, &done(down(), Then::Again));
    }
}

#[test]
fn an_entry_of_the_dlq_that_finds_a_hold_tries_again_soon_after_it() {
    let mut world = World::new();
    world.add("a/dead", 1);
    all_in_dlq(&mut world, "a/dead");
    assert!(world.next().is_none());
    world.pass(200.0);
    world.add("a/one", 1);
    let job = world.next().unwrap();
    let wait = Some(Duration::from_mins(20));
    world.end(&job, &done(Answer::Unavailable(failure(Reason::Server), wait), Then::Later));
    // The entry's time comes and goes while the Receiver has asked for patience.
    world.pass(1190.0);
    assert!(world.next().is_none());
    while let Some(job) = world.wait(60.0) {
        if matches!(job.task, Task::DlqProbe(_)) {
            return;
        }
        world.ok(&job);
    }
    panic!("the entry is forgotten");
}

#[test]
fn retry_after_ends_with_another_address_or_token_only() {
    for elsewhere in [false, true] {
        let mut world = World::new();
        world.add("a/one", 1);
        let job = world.next().unwrap();
        let wait = Some(Duration::from_mins(50));
        world.end(&job, &done(Answer::Unavailable(failure(Reason::TooManyRequests), wait), Then::Later));
        let settings = world.schedule.settings.clone();
        world.schedule.configure(settings, elsewhere, world.now);
        assert_eq!(world.next().is_some(), elsewhere);
        if !elsewhere {
            assert!(world.wait(2990.0).is_none());
            assert!(world.wait(20.0).is_some());
        }
    }
}

#[test]
fn w25_entries_of_the_dlq_take_no_more_slots_than_their_tenant_has() {
    let mut world = World::new();
    for dataset in 0..300 {
        world.add(&format!("a/d{dataset}"), 1);
        all_in_dlq(&mut world, &format!("a/d{dataset}"));
    }
    assert!(world.next().is_none());
    world.pass(901.0);
    let jobs = world.all();
    assert_eq!(jobs.len(), 5);
    // A slot that comes free goes to new batches first: the others try again later, and all do.
    world.add("a/new", 1);
    let then = Then::Dlq { cursor: None, end: true, returned: 0 };
    world.end(&jobs[0], &done(Answer::Answered, then.clone()));
    let job = world.next().unwrap();
    assert!(matches!(job.task, Task::Upload(_)), "{job:?}");
    world.ok(&job);
    for job in &jobs[1..] {
        world.end(job, &done(Answer::Answered, then.clone()));
    }
    let (mut tried, end) = (jobs.len(), world.now + Duration::from_mins(30));
    while let Some(job) = world.wait((end - world.now).as_secs_f64()) {
        assert!(world.schedule.jobs.len() <= 5);
        tried += 1;
        world.end(&job, &done(Answer::Answered, then.clone()));
    }
    assert!(tried >= 300, "{tried}");
}

/// A tenant that was refused is gone, and so are its entries: nothing is left to be told about.
#[test]
fn a_circuit_goes_when_nothing_is_left_that_could_close_it() {
    for deleted in [true, false] {
        let mut world = World::new();
        world.add("a/one", 3);
        world.add("a/two", 3);
        while let Some(job) = world.next() {
            let answer = if matches!(job.task, Task::Bury(..)) { Answer::Nothing } else { refused() };
            world.bury(&job, answer);
        }
        assert_eq!(world.circuits(), ["tenant a"]);
        if deleted {
            for name in ["a/one", "a/two"] {
                world.spool.remove(&key(name));
                world.schedule.touch(key(name));
            }
            assert!(world.next().is_none());
        } else {
            // What is there is for a person: looked through from beginning to end, in vain.
            for _ in 0..2 {
                let job = world.wait(120.0).unwrap();
                assert!(matches!(job.task, Task::DlqProbe(None)), "{job:?}");
                let then = Then::Dlq { cursor: Some(Stamp(3)), end: true, returned: 0 };
                world.end(&job, &done(Answer::Nothing, then));
            }
        }
        assert!(world.circuits().is_empty(), "deleted {deleted}: {:?}", world.circuits());
        assert_eq!(world.schedule.open_circuits(), [0; 3]);
        assert!(world.schedule.tenants.is_empty() && world.schedule.datasets.is_empty());
    }
}

/// A circuit closes and the DLQ holds more than the uploads can take away: it comes as they get rid of it.
#[test]
fn w8_what_returns_after_a_circuit_closed_keeps_the_uploads_busy_and_no_more() {
    let mut world = World::new();
    world.add("a/one", 300);
    while let Some(job) = world.next() {
        let answer = if matches!(job.task, Task::Bury(..)) { Answer::Nothing } else { refused() };
        world.bury(&job, answer);
    }
    let probe = world.wait(90.0).unwrap();
    world.end(&probe, &done(Answer::Accepted, Then::Dlq { cursor: None, end: false, returned: 0 }));
    let began = world.now;
    let (mut delivered, mut out) = (0, 0_usize);
    while delivered < 300 {
        let Some(job) = world.next() else {
            world.pass(0.1);
            assert!(world.now - began < Duration::from_secs(30), "{delivered}");
            continue;
        };
        if let Task::Return { limit, .. } = job.task {
            let entries = world.spool.get_mut(&key("a/one")).unwrap().values_mut();
            let dlq: Vec<_> = entries.filter(|entry| entry.state == State::Dlq).take(limit).collect();
            let (returned, end) = (dlq.len(), dlq.is_empty());
            for entry in dlq {
                entry.state = State::Retry;
            }
            out += returned;
            world.schedule.touch(key("a/one"));
            world.end(&job, &done(Answer::Nothing, Then::Dlq { cursor: None, end, returned }));
        } else {
            world.ok(&job);
            delivered += 1;
        }
        assert!(out - delivered <= RETURN_MAX + LOW + 5, "{out} returned, {delivered} delivered");
    }
    assert!(world.now - began < Duration::from_secs(5), "no second is waited per step");
}

/// The spool has no room for what would return: asked again after a pause, not in a circle.
#[test]
fn a_return_without_room_pauses() {
    let mut world = World::new();
    world.add("a/one", 3);
    while let Some(job) = world.next() {
        let answer = if matches!(job.task, Task::Bury(..)) { Answer::Nothing } else { refused() };
        world.bury(&job, answer);
    }
    let probe = world.wait(90.0).unwrap();
    world.end(&probe, &done(Answer::Accepted, Then::Dlq { cursor: None, end: false, returned: 0 }));
    for _ in 0..3 {
        let job = world.wait(1.1).unwrap();
        assert!(matches!(job.task, Task::Return { .. }), "{job:?}");
        world.end(&job, &done(Answer::Nothing, Then::Dlq { cursor: None, end: false, returned: 0 }));
        assert!(world.next().is_none());
    }
}

/// A dataset that is refused wants to probe while a sibling has all slots of their tenant.
#[test]
fn w25_a_diverting_circuit_probes_although_its_tenant_never_has_a_slot_left() {
    let mut world = World::new();
    world.add("a/dead", 1);
    let job = world.next().unwrap();
    world.bury(&job, Answer::Refused { tenant: false, failure: failure(Reason::NotFound) });
    world.add("a/busy", 1000);
    let mut running = VecDeque::from(world.all());
    let (mut probes, mut uploads) = (0, 0);
    for _ in 0..240 {
        world.pass(0.5);
        assert!(world.next().is_none(), "all slots are taken");
        let job = running.pop_front().unwrap();
        if matches!(job.task, Task::DlqProbe(_)) {
            assert!(job.probe && job.key == key("a/dead"));
            probes += 1;
            let answer = Answer::Refused { tenant: false, failure: failure(Reason::NotFound) };
            world.end(&job, &done(answer, Then::Dlq { cursor: None, end: false, returned: 0 }));
        } else {
            uploads += 1;
            world.ok(&job);
        }
        let next = world.all();
        assert_eq!(next.len(), 1);
        running.extend(next);
    }
    // At 2, 4, 8 ... seconds, a quarter more or less.
    assert!((4..=7).contains(&probes), "{probes}");
    assert!(uploads > 200, "{uploads}");
    assert_eq!(world.circuits(), ["dataset a dead"]);
}

/// A circuit whose probe hangs is overdue, and jobs of others go on ending beside it.
#[test]
fn an_overdue_circuit_has_one_timer_however_many_jobs_end() {
    let mut world = World::new();
    world.add("x/one", 1);
    let job = world.next().unwrap();
    world.bury(&job, refused());
    world.add("a/one", 2);
    for job in world.all() {
        world.end(&job, &done(down(), Then::Again));
    }
    assert_eq!(world.circuits(), ["receiver", "tenant x"]);
    let hung = world.wait(5.0).unwrap();
    assert!(hung.probe && hung.key == key("a/one"));
    world.pass(20.0);
    let hung = world.all();
    assert!(matches!(hung.as_slice(), [Job { task: Task::DlqProbe(_), .. }]), "{hung:?}");
    world.pass(20.0);
    for _ in 0..50 {
        world.add("x/one", 1);
        let job = world.next().unwrap();
        assert!(matches!(job.task, Task::Bury(..)), "{job:?}");
        world.bury(&job, Answer::Nothing);
        world.pass(0.008);
    }
    let (mut wakes, end) = (0, world.now + Duration::from_secs(5));
    while let Some(at) = world.schedule.wakes_at().filter(|at| *at <= end) {
        world.now = world.now.max(at);
        world.next();
        wakes += 1;
    }
    assert!((5..=20).contains(&wakes), "{wakes}");
}

/// The probe has read an empty DLQ, then one enters, then the probe says that it is empty.
#[test]
fn an_entry_that_enters_the_dlq_behind_a_probe_is_remembered() {
    let mut world = World::new();
    world.add("a/one", 1);
    all_in_dlq(&mut world, "a/one");
    let probe = world.wait(1000.0).unwrap();
    assert!(matches!(probe.task, Task::DlqProbe(None)), "{probe:?}");
    world.add("a/one", 1);
    all_in_dlq(&mut world, "a/one");
    assert!(world.next().is_none());
    let nothing = done(Answer::Nothing, Then::Dlq { cursor: None, end: true, returned: 0 });
    world.end(&probe, &nothing);
    let again = world.wait(1000.0).expect("the entry tries");
    assert!(matches!(again.task, Task::DlqProbe(None)), "{again:?}");
    // Nothing came meanwhile: now it may be forgotten.
    world.end(&again, &nothing);
    assert!(world.schedule.datasets.is_empty());
}
