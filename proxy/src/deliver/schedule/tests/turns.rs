//! Who goes next.

use super::*;

#[test]
fn h16_w37_a_closed_batch_goes_at_once_oldest_first_five_at_a_time() {
    let mut world = World::new();
    world.add("a/one", 100);
    let jobs = world.all();
    assert_eq!(jobs.iter().map(stamp_of).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    world.ok(&jobs[2]);
    assert_eq!(world.all().iter().map(stamp_of).collect::<Vec<_>>(), [6]);
}

#[test]
fn everything_is_delivered_once_and_forgotten() {
    let mut world = World::new();
    for tenant in 0..10 {
        for dataset in 0..100 {
            world.add(&format!("t{tenant}/d{dataset}"), 40);
        }
    }
    let (mut seen, mut running) = (BTreeSet::new(), VecDeque::new());
    loop {
        let jobs = world.all();
        running.extend(jobs);
        let Some(job) = running.pop_front() else { break };
        assert!(seen.insert(stamp_of(&job)));
        world.ok(&job);
    }
    assert_eq!(seen.len(), 40_000);
    assert!(
        world.schedule.is_empty() && world.schedule.datasets.is_empty() && world.schedule.tenants.is_empty()
    );
}

#[test]
fn tenants_and_datasets_take_turns() {
    let mut world = World::new();
    world.add("big/one", 1000);
    world.add("big/two", 1000);
    world.add("small/one", 2);
    let jobs = world.all();
    let of = |name: &str| jobs.iter().filter(|job| job.key == key(name)).count();
    assert_eq!((of("big/one"), of("big/two"), of("small/one")), (3, 2, 2));
}

#[test]
fn a_failed_batch_waits_its_interval_and_holds_nobody_up() {
    let mut world = World::new();
    world.add("a/one", 2);
    let jobs = world.all();
    world.end(&jobs[0], &done(Answer::Answered, Then::Later));
    world.ok(&jobs[1]);
    assert!(world.circuits().is_empty());
    assert!(world.wait(59.0).is_none());
    assert_eq!(stamp_of(&world.wait(2.0).unwrap()), 1);
}
