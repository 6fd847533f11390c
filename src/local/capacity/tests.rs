use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::machine::Rng;

const NO_BURST: BurstSpec = BurstSpec { seconds: 0.0, available: 1.0, initial: 1.0 };

fn provisioned(read: f64, write: f64) -> ModelSpec {
    ModelSpec { provisioned: Some(Throughput { read, write }), burst: NO_BURST, ..ModelSpec::default() }
}

/// Sends `per_second` requests per second to the model, for `seconds` seconds. The function `demand` returns the demand
/// of each request. Returns the number of served units.
fn offer_load(
    model: &mut Model,
    from: f64,
    seconds: f64,
    per_second: f64,
    consumed: &ConsumedUnits,
    mut demand: impl FnMut(u64) -> Demand,
) -> f64 {
    let requests = (seconds * per_second) as u64;
    let mut served = 0.0;
    for i in 0..requests {
        let now = Duration::from_secs_f64(from + i as f64 / per_second);
        let demand = demand(i);
        if model.admit(now, &demand).is_ok() {
            model.charge(now, &demand, consumed);
            served += consumed.table;
        }
    }
    served
}

/// Returns the position of request `i`. The positions are evenly spread.
fn spread_position(i: u64) -> f64 {
    (i as f64 * 0.618_033_988_749_895).fract()
}

fn spread_write(i: u64) -> Demand {
    Demand::write(spread_position(i), i)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// For all limits, the model never serves more units than the limits allow. Under overload, it serves exactly the
    /// allowed number of units.
    #[test]
    fn served_units_equal_allowed_units(
        table in prop::option::of(5.0..150.0_f64),
        account in prop::option::of(5.0..150.0_f64),
        partition in 5.0..40.0_f64,
        count in 1..9_u32,
        burst in 0.0..20.0_f64,
        units in 1.0..6.0_f64,
        scale in 0.5..2.0_f64,
    ) {
        let mut spec = ModelSpec { scale, ..ModelSpec::default() };
        spec.provisioned = table.map(|write| Throughput { read: 1.0, write });
        spec.account.write = account;
        spec.burst = BurstSpec { seconds: burst, ..BurstSpec::default() };
        spec.partitions = PartitionSpec { count: Some(count), write: partition, split_after_seconds: f64::INFINITY, ..spec.partitions };
        let mut model = Model::new(spec);
        let limit = |scope| model.allowed_rate(scope, RequestKind::Write);
        let of_partitions = f64::from(count) * limit(LimitScope::Partition);
        let allowed = limit(LimitScope::Table).min(limit(LimitScope::Account)).min(of_partitions);

        let seconds = 80.0;
        let offered = 3.0 * of_partitions / units;
        let served = offer_load(&mut model, 0.0, seconds, offered, &ConsumedUnits::table(units), spread_write);

        let credit = (limit_or_zero(table, scale) * burst.max(1.0))
            .max(account.map_or(0.0, |account| account * scale))
            .max(of_partitions);
        prop_assert!(served <= allowed * seconds + credit + f64::from(count) * units, "{served} of {allowed}/s");
        prop_assert!(served >= allowed * seconds * 0.98 - units, "{served} of {allowed}/s");
        for partition in model.partitions() {
            let most = max_partition_units(&model, seconds, units);
            prop_assert!(*partition.served.get(RequestKind::Write) <= most);
        }
    }

    /// The counts of units and requests stay exact, even when partitions split.
    #[test]
    fn units_and_requests_are_conserved(seed in 0..1_000_u64, split_after in 1.0..20.0_f64, narrow in 0.05..1.0_f64) {
        let mut spec = provisioned(500.0, 80.0);
        spec.seed = seed;
        spec.partitions = PartitionSpec { count: Some(3), write: 20.0, read: 60.0, split_after_seconds: split_after };
        spec.indexes = vec![IndexSpec { name: "i".into(), write: Some(30.0), partitions: Some(2), ..IndexSpec::default() }];
        spec.storms = vec![Storm { from: 5.0, to: 10.0, fraction: 0.3, reason: "TableReadAccountLimitExceeded".parse().unwrap(), index: None }];
        let mut model = Model::new(spec);
        let mut random = Rng::with_seed(seed);
        let mut table = ReadWrite::<f64>::default();
        let mut index = 0.0;
        let mut requested = ReadWrite::<u64>::default();
        for i in 0..6_000_u64 {
            let now = Duration::from_millis(10 * i);
            let position = random.f64() * narrow;
            let key = random.u64(..);
            let demand = if random.bool() { Demand::read(position, key) } else { Demand::write(position, key) };
            *requested.get_mut(demand.kind) += 1;
            if model.admit(now, &demand).is_err() {
                continue;
            }
            let units = random.f64() * 3.0;
            *table.get_mut(demand.kind) += units;
            if demand.kind == RequestKind::Write {
                model.charge(now, &demand, &ConsumedUnits { table: units, indexes: vec![(0, 0.5)] });
                index += 0.5;
            } else {
                model.charge_range(now, &demand, position + random.f64() * (1.0 - position), units);
            }
        }
        let parts = model.partitions();
        prop_assert!(parts.windows(2).all(|two| two[0].to == two[1].from));
        prop_assert_eq!((parts[0].from, parts[parts.len() - 1].to), (0.0, 1.0));
        let stats = model.stats();
        for kind in [RequestKind::Read, RequestKind::Write] {
            let of_parts: f64 = parts.iter().chain(model.split_partitions()).map(|part| part.served.get(kind)).sum();
            prop_assert!((of_parts - table.get(kind)).abs() < 1e-6, "{of_parts} {table:?}");
            prop_assert!((stats.table.get(kind) - table.get(kind)).abs() < 1e-6);
            prop_assert_eq!(stats.admitted.get(kind) + stats.throttled.get(kind), *requested.get(kind));
        }
        let of_index: f64 = model.index_partitions(0).iter().map(|part| part.served.write).sum();
        prop_assert!((of_index - index).abs() < 1e-6 && (stats.indexes[0].write - index).abs() < 1e-6);
    }
}

fn limit_or_zero(limit: Option<f64>, scale: f64) -> f64 {
    limit.unwrap_or(0.0) * scale
}

fn max_partition_units(model: &Model, seconds: f64, units: f64) -> f64 {
    model.allowed_rate(LimitScope::Partition, RequestKind::Write) * (seconds + 1.0) + units
}

#[test]
fn burst_credit_is_spent_and_refills_while_capacity_is_unused() {
    let mut spec = provisioned(10.0, 100.0);
    spec.partitions.count = Some(4);
    spec.burst = BurstSpec::default();
    let mut model = Model::new(spec);
    let one = ConsumedUnits::table(1.0);
    // The demand exceeds the refill rate by 1,000 units per second, so it uses up the burst credit of 300 s × 100
    // units.
    let served = offer_load(&mut model, 0.0, 60.0, 1_100.0, &one, spread_write);
    assert!((served - (30_000.0 + 60.0 * 100.0)).abs() <= 2.0, "{served}");
    // The burst credit is used up, so the model serves only the refill rate.
    let served = offer_load(&mut model, 60.0, 20.0, 1_000.0, &one, spread_write);
    assert!((served - 2_000.0).abs() <= 2.0, "{served}");
    // In 50 idle seconds, the balance grows by 5,000 units. In an idle week, it grows to the maximum of 30,000 units.
    let served = offer_load(&mut model, 130.0, 20.0, 1_000.0, &one, spread_write);
    assert!((served - (5_000.0 + 2_000.0)).abs() <= 2.0, "{served}");
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(model.balance(week, LimitScope::Table, RequestKind::Write), 30_000.0);
}

#[test]
fn burst_credit_is_best_effort_and_may_begin_empty() {
    let with = |available, initial| {
        let mut spec = provisioned(10.0, 100.0);
        spec.burst = BurstSpec { seconds: 300.0, available, initial };
        Model::new(spec).balance(Duration::ZERO, LimitScope::Table, RequestKind::Write)
    };
    assert_eq!((with(1.0, 1.0), with(0.5, 1.0), with(1.0, 0.1)), (30_000.0, 15_000.0, 3_000.0));
    // The current second's capacity is always available.
    assert_eq!((with(1.0, 0.0), with(0.0, 1.0)), (100.0, 100.0));
}

#[test]
fn burst_credit_never_raises_the_limit_of_a_partition() {
    let mut spec = provisioned(10.0, 2_000.0);
    spec.partitions.count = Some(4);
    spec.burst = BurstSpec::default();
    let mut model = Model::new(spec);
    let served = offer_load(&mut model, 0.0, 30.0, 3_000.0, &ConsumedUnits::table(1.0), |i| Demand::write(0.1, i));
    assert!(
        (served - 31_000.0).abs() <= 2.0,
        "one second of stored capacity plus thirty seconds of refill are expected: {served}"
    );
    assert_eq!(
        model.stats().reasons.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["TableWriteKeyRangeThroughputExceeded"]
    );
}

#[test]
fn a_large_request_is_paid_off_before_the_next() {
    let mut model = Model::new(provisioned(100.0, 100.0));
    let scan = Demand::read(0.0, 0);
    let at = |seconds| Duration::from_secs_f64(seconds);
    model.admit(at(0.0), &scan).unwrap();
    model.charge(at(0.0), &scan, &ConsumedUnits::table(128.0 * 5.0));
    assert!(model.admit(at(5.39), &scan).is_err());
    assert!(model.admit(at(5.41), &scan).is_ok());
    // If the clock goes backwards, the balance does not refill.
    assert!(model.admit(at(1.0), &Demand::read(0.0, 0)).is_ok());
    assert!(model.balance(at(1.0), LimitScope::Table, RequestKind::Read) < 2.0);
}

#[test]
fn a_page_is_paid_by_the_partitions_that_it_spans() {
    let mut spec = ModelSpec::default();
    spec.partitions.count = Some(4);
    let mut model = Model::new(spec);
    model.charge_range(Duration::ZERO, &Demand::read(0.125, 0), 0.625, 100.0);
    let served: Vec<f64> = model.partitions().iter().map(|part| part.served.read).collect();
    assert_eq!(served, [25.0, 50.0, 25.0, 0.0]);
}

#[test]
fn an_index_without_write_capacity_throttles_every_write_and_no_read() {
    let mut spec = provisioned(1_000.0, 1_000.0);
    spec.indexes = vec![
        IndexSpec { name: "wide".into(), write: Some(900.0), ..IndexSpec::default() },
        IndexSpec { name: "thin".into(), write: Some(50.0), read: Some(5.0), ..IndexSpec::default() },
    ];
    let mut model = Model::new(spec);
    let both = ConsumedUnits { table: 1.0, indexes: vec![(0, 1.0), (1, 1.0)] };
    let served = offer_load(&mut model, 0.0, 100.0, 500.0, &both, spread_write);
    assert!((served - 50.0 * 101.0).abs() <= 2.0, "{served}");
    // The index throttles even a write that does not touch it.
    let now = Duration::from_secs_f64(99.999);
    while model.admit(now, &spread_write(1)).is_ok() {
        model.charge(now, &spread_write(1), &both);
    }
    let refused = model.admit(now, &spread_write(1)).unwrap_err();
    assert_eq!(refused.error, "ProvisionedThroughputExceededException");
    assert_eq!(
        refused.reasons,
        [ThrottlingReason {
            reason: "IndexWriteProvisionedThroughputExceeded".into(),
            resource: "arn:aws:dynamodb:local:000000000000:table/shop/index/thin".into(),
        }]
    );
    assert!(model.admit(now, &Demand::read(0.5, 1)).is_ok(), "the index must not throttle reads of the table");
    let query = Demand { index: model.index("thin"), ..Demand::read(0.5, 1) };
    model.charge(now, &query, &ConsumedUnits { table: 0.0, indexes: vec![(1, 6.0)] });
    let refused = model.admit(now, &query).unwrap_err();
    assert_eq!(refused.reasons[0].reason, "IndexReadProvisionedThroughputExceeded");
}

#[test]
fn a_partition_that_stays_hot_is_split_if_that_helps() {
    let spec = || {
        let mut spec = ModelSpec { scale: 0.01, ..ModelSpec::default() };
        spec.partitions.count = Some(1);
        spec
    };
    let one = ConsumedUnits::table(1.0);
    let mut many_keys = Model::new(spec());
    offer_load(&mut many_keys, 0.0, 599.0, 30.0, &one, spread_write);
    assert_eq!(many_keys.partitions().len(), 1);
    offer_load(&mut many_keys, 599.0, 5.0, 30.0, &one, spread_write);
    assert_eq!(many_keys.partitions().len(), 2);
    let ended = &many_keys.split_partitions()[0];
    assert!(ended.until.unwrap() >= Duration::from_secs(600), "{ended:?}");
    let served = offer_load(&mut many_keys, 604.0, 100.0, 30.0, &one, spread_write);
    assert!((served - 2_000.0).abs() <= 20.0, "two partitions must serve twice as much: {served}");

    let mut one_key = Model::new(spec());
    let served = offer_load(&mut one_key, 0.0, 2_000.0, 30.0, &one, |_| Demand::write(0.3, 7));
    assert_eq!(one_key.partitions().len(), 1, "a partition with a single hot key must not be split");
    assert!((served - 20_010.0).abs() <= 2.0, "{served}");

    let mut intermittent = Model::new(spec());
    for minute in 0..20 {
        offer_load(&mut intermittent, f64::from(minute) * 100.0, 5.0, 30.0, &one, spread_write);
    }
    assert_eq!(intermittent.partitions().len(), 1, "a partition must not be split after short hot periods");
}

#[test]
fn a_storm_throttles_its_share_and_nothing_outside() {
    let mut spec = ModelSpec { seed: 7, ..ModelSpec::default() };
    let reason: Reason = "TableWriteMaxOnDemandThroughputExceeded".parse().unwrap();
    spec.storms = vec![Storm { from: 10.0, to: 20.0, fraction: 0.25, reason, index: None }];
    let mut model = Model::new(spec.clone());
    let one = ConsumedUnits::table(1.0);
    assert_eq!(offer_load(&mut model, 0.0, 10.0, 100.0, &one, spread_write), 1_000.0);
    let served = offer_load(&mut model, 10.0, 10.0, 100.0, &one, spread_write);
    assert!((700.0..800.0).contains(&served), "{served}");
    assert_eq!(
        offer_load(&mut model, 10.0, 10.0, 100.0, &one, |i| Demand::read(spread_position(i), i)),
        1_000.0,
        "the storm must throttle only writes"
    );
    assert_eq!(offer_load(&mut model, 20.0, 10.0, 100.0, &one, spread_write), 1_000.0);
    let stats = model.stats();
    assert_eq!((stats.storms, stats.reasons[&reason]), (stats.throttled.write, 1_000 - served as u64));

    let mut again = Model::new(spec);
    offer_load(&mut again, 0.0, 10.0, 100.0, &one, spread_write);
    assert_eq!(offer_load(&mut again, 10.0, 10.0, 100.0, &one, spread_write), served, "equal seeds, equal storms");
}

#[test]
fn all_limits_that_were_reached_are_named_narrow_to_wide() {
    let mut spec = provisioned(1_000.0, 1_000.0);
    spec.account.write = Some(1_000.0);
    spec.partitions.count = Some(1);
    spec.indexes =
        vec![IndexSpec { name: "i".into(), write: Some(1_000.0), partitions: Some(1), ..IndexSpec::default() }];
    let mut model = Model::new(spec.clone());
    model.set_arn("arn:aws:dynamodb:x:1:table/t");
    let now = Duration::ZERO;
    let write = Demand::write(0.5, 1);
    model.charge(now, &write, &ConsumedUnits { table: 5_000.0, indexes: vec![(0, 5_000.0)] });
    let refused = model.admit(now, &write).unwrap_err();
    let table = "arn:aws:dynamodb:x:1:table/t";
    let index = "arn:aws:dynamodb:x:1:table/t/index/i";
    let named: Vec<(&str, &str)> = refused.reasons.iter().map(|r| (r.reason.as_str(), r.resource.as_str())).collect();
    assert_eq!(
        named,
        [
            ("TableWriteKeyRangeThroughputExceeded", table),
            ("IndexWriteKeyRangeThroughputExceeded", index),
            ("IndexWriteProvisionedThroughputExceeded", index),
            ("TableWriteProvisionedThroughputExceeded", table),
            ("TableWriteAccountLimitExceeded", table),
        ]
    );
    assert_eq!(model.stats().throttled.write, 1, "one request, five reasons");

    let mut silent = Model::new(ModelSpec { reasons: false, ..spec });
    silent.charge(now, &write, &ConsumedUnits::table(5_000.0));
    assert_eq!(silent.admit(now, &write).unwrap_err().reasons, []);
}

#[test]
fn on_demand_has_other_errors_and_no_burst() {
    let mut spec = ModelSpec::default();
    assert_eq!(Model::new(spec.clone()).partitions().len(), 4);
    assert_eq!(Model::new(spec.clone()).allowed_rate(LimitScope::Table, RequestKind::Write), f64::INFINITY);
    spec.on_demand = Some(Maximum { read: None, write: Some(500.0) });
    let mut model = Model::new(spec);
    let one = ConsumedUnits::table(1.0);
    let served = offer_load(&mut model, 0.0, 20.0, 2_000.0, &one, spread_write);
    assert!((served - 500.0 * 21.0).abs() <= 2.0, "{served}");
    let empty = |model: &mut Model, demand: Demand| {
        let now = Duration::from_secs(30);
        model.charge(now, &demand, &ConsumedUnits::table(10_000.0));
        model.admit(now, &demand).unwrap_err()
    };
    let refused = empty(&mut model, Demand::write(0.5, 1));
    assert_eq!((refused.error, refused.reasons_member()), ("ThrottlingException", "throttlingReasons"));
    let reasons: Vec<&str> = refused.reasons.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(reasons, ["TableWriteKeyRangeThroughputExceeded", "TableWriteMaxOnDemandThroughputExceeded"]);

    let mut provisioned = Model::new(provisioned(1e6, 1e6));
    let refused = empty(&mut provisioned, Demand::read(0.5, 1));
    assert_eq!(refused.error, "ProvisionedThroughputExceededException");
    assert_eq!(refused.reasons_member(), "ThrottlingReasons");
    assert_eq!(refused.reasons[0].reason, "TableReadKeyRangeThroughputExceeded");
}

#[test]
fn the_sixteen_reasons_round_trip() {
    let mut seen = std::collections::BTreeSet::new();
    for resource in [Resource::Table, Resource::Index] {
        for kind in [RequestKind::Read, RequestKind::Write] {
            for limit in [Limit::Provisioned, Limit::Account, Limit::KeyRange, Limit::MaxOnDemand] {
                let reason = Reason { resource, kind, limit };
                assert_eq!(reason.to_string().parse(), Ok(reason));
                seen.insert(reason.to_string());
            }
        }
    }
    assert_eq!(seen.len(), 16);
    assert!(seen.contains("IndexReadAccountLimitExceeded") && seen.contains("TableWriteProvisionedThroughputExceeded"));
    for wrong in ["", "TableWrite", "TableWriteAccountLimitExceededX", "tableWriteAccountLimitExceeded"] {
        assert!(wrong.parse::<Reason>().is_err(), "{wrong}");
    }
}
