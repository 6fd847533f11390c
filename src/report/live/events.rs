//! The stream that tells a page about new figures (Server-Sent Events). An event contains the name of the page and the
//! time of its figures, but no figures. So a client that reads slowly needs almost no memory.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::current::Current;
use super::look::Look;
use crate::clock::to_text;

/// The interval between looks at the files while a page is open.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The maximum time between two events. Without an event, a page cannot know whether the server still works. The script
/// in `templates/live.js` waits three times as long before it says that it is not connected.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The stream of one client.
struct Client {
    current: Current,
    ticks: Interval,
    sent: Option<(Instant, String, Option<&'static str>)>,
    _permit: OwnedSemaphorePermit,
}

/// Returns the events for one client. The permit is released when the client is gone.
pub(super) fn events(
    current: Current,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let client = Client { current, ticks, sent: None, _permit: permit };
    futures::stream::unfold(client, async |mut client| {
        let look = client.next().await?;
        Some((Ok(event(&look)), client))
    })
}

impl Client {
    /// Waits until there is something to send. Returns `None` when the server ends.
    async fn next(&mut self) -> Option<Look> {
        loop {
            if self.sent.is_none() {
                // The client has just connected, so the newest look can be old.
                self.current.fresh().await;
            }
            tokio::select! {
                goes_on = self.current.changed(), if self.sent.is_some() => if !goes_on { return None },
                _ = self.ticks.tick() => self.current.want(),
            }
            let look = self.current.newest();
            let is_news = match &self.sent {
                None => true,
                Some((at, page, trouble)) => {
                    at.elapsed() >= HEARTBEAT || *page != look.page.name || *trouble != look.trouble
                }
            };
            if is_news {
                self.sent = Some((Instant::now(), look.page.name.clone(), look.trouble));
                return Some(look);
            }
        }
    }
}

fn event(look: &Look) -> Event {
    let data = json!({ "page": look.page.name, "at": to_text(look.at), "trouble": look.trouble });
    Event::default().event("figures").data(data.to_string())
}
