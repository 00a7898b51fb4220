//! The growth of a store over time, and its largest workers.

use crate::output::failure::Failure;
use crate::output::text::{bytes_for_people, count};
use crate::read::times::Times;
use crate::report::bins::Bins;
use crate::report::chronology::Span;
use crate::report::page::{Page, number};
use crate::report::text::Line;
use crate::report::timeline::labels;
use crate::report::walk::{Growth, Survey};
use maud::{Markup, html};
use redb_runtime_store::identity::WorkerRef;
use std::fmt::Write;

/// The size of a plot in its own units.
const WIDTH: u64 = 480;
const HEIGHT: u64 = 100;

pub(crate) fn write(page: &mut Page, survey: &mut Survey) -> Result<(), Failure> {
    page.tag("<section id=growth><h2>Growth</h2>")?;
    let times = page.times;
    let span = survey.totals.times;
    page.put(plots(times, span, &mut survey.growth))?;
    let has_several = survey.runtimes.len() > 1;
    if !survey.largest.is_empty() {
        page.put(largest(&survey.largest, has_several))?;
    }
    page.tag("</section>")
}

fn plots(times: &Times, span: Span, growth: &mut Growth) -> Markup {
    let Some((first, last)) = span.0 else {
        return html! { p .none { "No row has a time, so there is no growth over time." } };
    };
    let undated = (growth.undated_events, growth.undated_bytes);
    let axis = html! {
        div .axis { div .ticks { div .part { @for label in labels(times, first, last) { span { (label) } } } } }
    };
    let events = Curve::of(&mut growth.events, undated.0, (first, last));
    let bytes = Curve::of(&mut growth.bytes, undated.1, (first, last));
    html! {
        div .plots {
            (events.figure("Events", &number(events.total), &axis))
            (bytes.figure("Text of entries", &bytes_for_people(bytes.total), &axis))
        }
        @if undated.0 > 0 || undated.1 > 0 {
            p .more {
                "Rows without a time are counted at the beginning: " (count(undated.0, "event", "events")) ", "
                (bytes_for_people(undated.1)) " of text."
            }
        }
    }
}

/// A sum that grows over time, as a path.
struct Curve {
    total: u64,
    /// The corners of the curve: where it rises, and to which sum.
    corners: Vec<(u64, u64)>,
}

impl Curve {
    /// The curve from `base` on over the times from `first` to `last`.
    fn of(bins: &mut Bins, base: u64, (first, last): (u64, u64)) -> Self {
        let mut total = base;
        let mut corners = vec![(0, base)];
        for (at, count) in bins.counted() {
            total = total.saturating_add(count);
            let part = at.clamp(first, last) - first;
            let x = match last - first {
                0 => WIDTH,
                length => (u128::from(part) * u128::from(WIDTH) / u128::from(length)) as u64,
            };
            match corners.last_mut() {
                Some(corner) if corner.0 == x => corner.1 = total,
                _ => corners.push((x, total)),
            }
        }
        Self { total, corners }
    }

    fn figure(&self, name: &str, total: &str, axis: &Markup) -> Markup {
        let line = self.line();
        html! {
            figure {
                figcaption { (name) " " b { (total) } }
                svg .plot viewBox={ "0 -2 " (WIDTH) " " (HEIGHT + 2) } preserveAspectRatio="none" role="img"
                    aria-label={ (name) " over time, " (total) " at the end" } {
                    path .grid d={ "M0 0H" (WIDTH) "M0 " (HEIGHT / 2) "H" (WIDTH) "M0 " (HEIGHT) "H" (WIDTH) } {}
                    path .area d={ (line) "V" (HEIGHT) "H0Z" } {}
                    path .line d=(line) {}
                }
                (axis)
            }
        }
    }

    /// The steps of the curve.
    fn line(&self) -> String {
        let y = |sum: u64| {
            let part = u128::from(sum) * u128::from(10 * HEIGHT) / u128::from(self.total.max(1));
            (10 * HEIGHT - part as u64) as f64 / 10.0
        };
        let mut path = String::new();
        for (number, (x, sum)) in self.corners.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match number {
                0 => write!(path, "M{x} {}", y(*sum)),
                _ => write!(path, "H{x}V{}", y(*sum)),
            };
        }
        let _ = write!(path, "H{WIDTH}");
        path
    }
}

/// The largest workers as bars.
fn largest(workers: &[(u64, WorkerRef)], has_several: bool) -> Markup {
    let most = workers.first().map_or(0, |(bytes, _)| *bytes).max(1);
    html! {
        h3 { "Largest workers" }
        div .bars {
            @for (bytes, worker) in workers {
                @let width = u128::from(*bytes) * 1000 / u128::from(most);
                div .bar {
                    span .who {
                        bdi .id { (Line(worker.worker_id.as_str())) }
                        @if has_several { " " bdi .name { (Line(worker.runtime_id.as_str())) } }
                    }
                    svg .plot viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                        rect .full width="1000" height="10" {}
                        rect .part width=(width) height="10" {}
                    }
                    span .size { (bytes_for_people(*bytes)) }
                }
            }
        }
    }
}
