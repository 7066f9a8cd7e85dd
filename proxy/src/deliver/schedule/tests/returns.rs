//! Out of the DLQ.

use super::*;

#[test]
fn where_nothing_flows_one_dlq_entry_tries_every_five_to_fifteen_minutes() {
    let mut world = World::new();
    world.add("a/one", 1);
    world.spool.get_mut(&key("a/one")).unwrap().values_mut().for_each(|entry| entry.state = State::Dlq);
    for _ in 0..5 {
        let since = world.now;
        let job = world.wait(1000.0).unwrap();
        assert!(matches!(job.task, Task::DlqProbe(_)));
        assert!((300.0..=900.0).contains(&(world.now - since).as_secs_f64()));
        world.end(&job, &done(down(), Then::Dlq { cursor: None, end: false, returned: 0 }));
    }
    assert_eq!(world.circuits(), ["receiver"]);
}

#[test]
fn after_a_success_dlq_entries_return_step_by_step() {
    let mut world = World::new();
    world.add("a/one", 1);
    world.spool.get_mut(&key("a/one")).unwrap().values_mut().for_each(|entry| entry.state = State::Dlq);
    world.add("a/one", 1);
    let job = world.next().unwrap();
    world.ok(&job);
    let mut limits = Vec::new();
    for _ in 0..7 {
        let job = world.wait(1.5).unwrap();
        let Task::Return { limit, .. } = job.task else { panic!("{job:?}") };
        limits.push(limit);
        world.end(&job, &done(Answer::Nothing, Then::Dlq { cursor: None, end: false, returned: limit }));
    }
    assert_eq!(limits, [1, 2, 4, 8, 16, 32, 32]);
    let job = world.wait(1.5).unwrap();
    world.end(&job, &done(Answer::Nothing, Then::Dlq { cursor: None, end: true, returned: 0 }));
    world.add("a/one", 1);
    let job = world.next().unwrap();
    world.ok(&job);
    let next = world.wait(200.0);
    assert!(next.is_none(), "poison is not looked through after every success: {next:?}");
}

#[test]
fn without_auto_return_a_refused_tenant_is_probed_with_new_batches_only() {
    let mut world = World::new();
    world.schedule.settings.auto_return = false;
    world.add("a/one", 1);
    let job = world.next().unwrap();
    let refused = Answer::Refused { tenant: true, failure: failure(Reason::Forbidden) };
    world.bury(&job, refused);
    assert!(world.wait(10.0).is_none());
    world.add("a/one", 2);
    let job = world.next().unwrap();
    assert!(matches!(job.task, Task::Upload(_)) && job.probe);
    world.ok(&job);
    assert!(world.circuits().is_empty());
    assert!(matches!(world.next().unwrap().task, Task::Upload(_)));
    assert!(world.wait(2000.0).is_none(), "nothing leaves the DLQ by itself");
}
