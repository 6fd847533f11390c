//! Stores the spend of runs in a small table.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{Reservation, RunId, RunRecord, SessionId, Spend, SpendRecord, SpendState, rules};
use super::error::StateFileError;
use super::read;
use crate::cost::{PriceBasis, UnitPrices};

const SPEND: &str = "SELECT write_units, read_units, write_slice, read_slice, write_uncounted, read_uncounted, write_lost, \
     read_lost, write_per_million, read_per_million, price_basis FROM spend WHERE run = ?1";

/// Returns the current spend of a run. If `died` is set, the spend includes the open slice, which the next owner will
/// count as spent.
pub(super) fn record(connection: &Connection, run: &RunRecord, died: bool) -> Result<SpendRecord, StateFileError> {
    let counted = read::totals(connection, run)?.counts.spend();
    let Some((stored, prices)) = row(connection, run.id)? else {
        return Ok(SpendRecord { state: SpendState::from_pages(counted), prices: None });
    };
    let state = if died { stored.after_death(counted) } else { stored.current(counted) };
    Ok(SpendRecord { state, prices: Some(prices) })
}

/// Begins to record a session's spend at these prices. Returns the run's current spend.
pub(super) fn begin(
    connection: &Connection,
    session: SessionId,
    prices: UnitPrices,
) -> Result<SpendState, StateFileError> {
    let id = session.run;
    let run = read::run(connection, id)?;
    rules::check_epoch(&run, session)?;
    let counted = read::totals(connection, &run)?.counts.spend();
    let state = row(connection, id)?.map(|(state, _)| state).unwrap_or_default().at_session_start(counted);
    put(connection, id, &state)?;
    connection.execute(
        "UPDATE spend SET write_per_million = ?2, read_per_million = ?3, price_basis = ?4 WHERE run = ?1",
        params![id.0, prices.write_per_million, prices.read_per_million, prices.basis.name()],
    )?;
    Ok(state)
}

/// Reserves a slice. `begun` is true if the session has called `begin_spend` since the file was opened.
pub(super) fn reserve(
    connection: &Connection,
    session: SessionId,
    begun: bool,
    reservation: Reservation,
) -> Result<(), StateFileError> {
    let run = read::run(connection, session.run)?;
    let stored = row(connection, run.id)?.map(|(state, _)| state);
    put(connection, run.id, &rules::reserve(&run, session, stored, begun, reservation)?)
}

/// Closes the open slice. After this call, only the used capacity counts as spent.
pub(super) fn settle(connection: &Connection, session: SessionId, spent: Spend) -> Result<SpendRecord, StateFileError> {
    let id = session.run;
    let run = read::run(connection, id)?;
    let counted = read::totals(connection, &run)?.counts.spend();
    let stored = row(connection, id)?.map(|(state, _)| state);
    put(connection, id, &rules::settle(&run, session, stored, spent, counted)?)?;
    record(connection, &run, false)
}

/// Counts open slices as spent. Call this function before any session begins, because every open slice then belongs to
/// a dead process.
pub(super) fn count_lost_slices_as_spent(connection: &Connection) -> Result<(), StateFileError> {
    let open: Vec<i64> = connection
        .prepare("SELECT run FROM spend WHERE write_slice > 0 OR read_slice > 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in open.into_iter().map(RunId) {
        let counted = read::totals(connection, &read::run(connection, id)?)?.counts.spend();
        if let Some((stored, _)) = row(connection, id)? {
            put(connection, id, &stored.after_death(counted))?;
        }
    }
    Ok(())
}

fn row(connection: &Connection, id: RunId) -> Result<Option<(SpendState, UnitPrices)>, StateFileError> {
    let mut statement = connection.prepare_cached(SPEND)?;
    let found = statement.query_row([id.0], |row| Ok((state_from(row)?, prices_from(row)?))).optional()?;
    let Some((state, prices)) = found else { return Ok(None) };
    let prices = prices.ok_or_else(|| StateFileError::Row(format!("the prices of run {} cannot be read", id.0)))?;
    let figures = [state.spent, state.slice, state.uncounted, state.lost];
    if figures.iter().any(|spend| !(spend.write >= 0.0 && spend.read >= 0.0)) {
        return Err(StateFileError::Row(format!("the spend of run {} is negative", id.0)));
    }
    Ok(Some((state, prices)))
}

fn state_from(row: &Row<'_>) -> rusqlite::Result<SpendState> {
    let pair = |at: usize| Ok::<_, rusqlite::Error>(Spend { write: row.get(at)?, read: row.get(at + 1)? });
    Ok(SpendState { spent: pair(0)?, slice: pair(2)?, uncounted: pair(4)?, lost: pair(6)? })
}

fn prices_from(row: &Row<'_>) -> rusqlite::Result<Option<UnitPrices>> {
    let write_per_million = row.get(8)?;
    let read_per_million = row.get(9)?;
    let basis = PriceBasis::from_name(&row.get::<_, String>(10)?);
    Ok(basis.map(|basis| UnitPrices { write_per_million, read_per_million, basis }))
}

/// Stores the spend of a run. Does not change the prices. The prices are 0 until they are set.
fn put(connection: &Connection, id: RunId, state: &SpendState) -> Result<(), StateFileError> {
    let SpendState { spent, slice, uncounted, lost } = state;
    connection
        .prepare_cached(
            "INSERT INTO spend (run, write_units, read_units, write_slice, read_slice, write_uncounted, read_uncounted, \
             write_lost, read_lost, write_per_million, read_per_million, price_basis) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, 'plan') \
             ON CONFLICT (run) DO UPDATE SET write_units = excluded.write_units, read_units = excluded.read_units, \
             write_slice = excluded.write_slice, read_slice = excluded.read_slice, \
             write_uncounted = excluded.write_uncounted, read_uncounted = excluded.read_uncounted, \
             write_lost = excluded.write_lost, read_lost = excluded.read_lost",
        )?
        .execute(params![
            id.0,
            spent.write,
            spent.read,
            slice.write,
            slice.read,
            uncounted.write,
            uncounted.read,
            lost.write,
            lost.read
        ])?;
    Ok(())
}
