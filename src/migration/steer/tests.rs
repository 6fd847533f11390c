use super::*;
use crate::clock::wall_clock;
use crate::plan::load;
use crate::state::in_memory;

fn plan(write: u32) -> Plan {
    let text = format!(
        "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[capacity]\nwrite = {write}\n[[change]]\nmove = \"a\"\nto = \"b\"\n"
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

/// Creates the steerer of a new process that uses this state.
fn steerer(store: &State, plan: &Plan) -> Steerer {
    Steerer::new(store.clone(), plan, wall_clock())
}

async fn give(steerer: &Steerer, command: Command) -> Reply {
    let reply = steerer.carry_out(&Request::new(&*steerer.0.plan, "ann@h", command)).await.unwrap();
    assert_eq!(reply.refused, None);
    reply
}

async fn stored(store: &State) -> Settings {
    let text = store.fact(StoredFact::Steering).await.unwrap();
    text.map_or_else(Settings::default, |text| Settings::from_text(&text).unwrap())
}

fn pause() -> Command {
    Command::Pause { reason: Some("why".into()) }
}

#[tokio::test]
async fn an_outdated_rate_stays_stored_until_the_operator_is_told() {
    let (store, before, now) = (in_memory(), plan(250), plan(900));
    let rate = Command::Rate { write: Some(20.0), read: None };
    give(&steerer(&store, &before), rate).await;
    // This process waits for the lease, obeys `ctl`, and ends before a pass begins.
    let refused = steerer(&store, &now);
    assert!(refused.restore().await.unwrap().outdated_text().unwrap().contains("no longer applies"));
    assert_eq!(refused.capacity().await, now.capacity, "the rate does not apply");
    assert_eq!(give(&refused, pause()).await.state["rate"], Json::Null);
    assert_eq!(stored(&store).await.rate.unwrap().write, Some(20.0));
    // The next process also finds the outdated rate. `keep` then removes it.
    let next = steerer(&store, &now);
    let remembered = next.restore().await.unwrap();
    assert!(remembered.outdated_text().is_some() && remembered.settings.rate.is_none());
    next.keep().await.unwrap();
    assert_eq!((stored(&store).await.rate, stored(&store).await.paused.is_some()), (None, true));
    assert_eq!(steerer(&store, &now).restore().await.unwrap().outdated_text(), None);
}

#[tokio::test]
async fn the_way_back_ends_only_a_pause_that_was_set_before_it_began() {
    let (store, plan) = (in_memory(), plan(250));
    give(&steerer(&store, &plan), pause()).await;
    let back = steerer(&store, &plan);
    assert!(back.restore().await.unwrap().settings.paused.is_some());
    assert!(back.clear_for_way_back("bob@h").await.unwrap());
    assert_eq!((back.pause().paused(), stored(&store).await.paused), (None, None));

    // An operator pauses while the command waits for the lease.
    for earlier in [false, true] {
        if earlier {
            give(&steerer(&store, &plan), pause()).await;
        }
        let back = steerer(&store, &plan);
        back.restore().await.unwrap();
        give(&back, Command::Pause { reason: Some("later".into()) }).await;
        assert!(!back.clear_for_way_back("bob@h").await.unwrap());
        assert!(back.pause().paused().unwrap().contains("later"));
        assert_eq!(stored(&store).await.paused.unwrap().reason.as_deref(), Some("later"));
        give(&back, Command::Resume).await;
    }
}

#[tokio::test]
async fn an_operator_ended_a_pause_only_if_the_run_continues() {
    let (store, plan) = (in_memory(), plan(250));
    let steerer = steerer(&store, &plan);
    let ended_by = || steerer.resumed_by((steerer.0.clock)());
    // Only the file pauses the run, so the operator's `resume` does not end a pause.
    steerer.pause().pause(PauseSource::File, "the file p exists");
    give(&steerer, Command::Resume).await;
    steerer.pause().resume(PauseSource::File);
    assert_eq!(ended_by(), None);
    // The run stays paused because of the file.
    give(&steerer, pause()).await;
    steerer.pause().pause(PauseSource::File, "the file p exists");
    assert!(give(&steerer, Command::Resume).await.text.contains("still paused: the file p exists"));
    steerer.pause().resume(PauseSource::File);
    assert_eq!(ended_by(), None);
    give(&steerer, pause()).await;
    give(&steerer, Command::Resume).await;
    assert_eq!(ended_by().as_deref(), Some("ann@h"));
    // Immediately afterwards, the file pauses the run again.
    steerer.pause().pause(PauseSource::File, "the file p exists");
    give(&steerer, Command::Resume).await;
    steerer.pause().resume(PauseSource::File);
    assert_eq!(ended_by(), None);
}
