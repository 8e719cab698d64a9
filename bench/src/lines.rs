//! Readings as line protocol or JSON, in whole HTTP requests that are ready to be sent.
//!
//! Owns the text of a line and how lines are dealt to requests and connections. Does **not** own the sending (`client`,
//! `measure::ingest`). Requests are made slice by slice, so that memory stays bounded and making them is never timed.

use std::io::Write as _;

use crate::client;
use crate::workload::{Arrival, Factory, METRICS, Plan, Reading};

/// Where line protocol goes.
const WRITE_PATH: &str = "/api/v2/write?precision=ns";

/// How readings are laid out in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `temperature,device_id=d007 value=65.12 TIME`: one reading per line.
    Narrow,
    /// `machine,device_id=d007 temperature=65.12,pressure=6.2,... TIME`: a device's tick per line; what is late or sent
    /// twice stands alone.
    Wide,
}

/// How readings become requests: what stands on a line, and what makes lines a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// What shares a line.
    pub(crate) shape: Shape,
    /// Writes readings of one device and time as a line.
    pub(crate) push: fn(&mut Vec<u8>, &[Reading]),
    /// Makes lines a request.
    pub(crate) wrap: fn(&[u8]) -> Vec<u8>,
}

impl Shape {
    /// Line protocol as Weir's own names have it.
    pub(crate) fn layout(self) -> Layout {
        let push = match self {
            Self::Narrow => push_narrow,
            Self::Wide => push_wide,
        };
        Layout { shape: self, push, wrap: |lines| client::post(WRITE_PATH, "text/plain", lines) }
    }

    /// Which of the arrivals of a tick share a line.
    pub(crate) fn lines(self, arrivals: &[Reading]) -> impl Iterator<Item = &[Reading]> {
        arrivals.chunk_by(move |a, b| {
            let on_time = a.arrival == Arrival::OnTime && b.arrival == Arrival::OnTime;
            self == Self::Wide && on_time && a.device == b.device
        })
    }
}

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// Head and body.
    pub(crate) bytes: Vec<u8>,
    /// Readings in it.
    pub(crate) points: u64,
}

/// Makes the requests of a plan.
#[derive(Debug)]
pub(crate) struct Requests {
    factory: Factory,
    layout: Layout,
    lines_per_request: usize,
    lanes: Vec<Lane>,
    arrivals: Vec<Reading>,
}

/// A request in the making; devices are dealt to lanes by number.
#[derive(Debug, Default)]
struct Lane {
    body: Vec<u8>,
    lines: usize,
    points: u64,
    done: Vec<Request>,
}

impl Requests {
    /// The requests of `plan`. Readings of one device always meet in one of `lanes` lanes, in order.
    pub(crate) fn new(plan: Plan, layout: Layout, lines_per_request: usize, lanes: usize) -> Self {
        let lanes = (0..lanes.max(1)).map(|_| Lane::default()).collect();
        Self { factory: Factory::new(plan), layout, lines_per_request, lanes, arrivals: Vec::new() }
    }

    /// The next requests of each lane, with about `points_max` readings in all; `None` after the last.
    pub(crate) fn slice(&mut self, points_max: u64) -> Option<Vec<Vec<Request>>> {
        let mut points = 0;
        while points < points_max {
            if !self.factory.next_arrivals(&mut self.arrivals) {
                let wrap = self.layout.wrap;
                self.lanes.iter_mut().for_each(|lane| lane.finish(wrap));
                break;
            }
            points += self.arrivals.len() as u64;
            self.deal();
        }
        let slice: Vec<Vec<Request>> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.done)).collect();
        (points > 0 || slice.iter().any(|lane| !lane.is_empty())).then_some(slice)
    }

    fn deal(&mut self) {
        let Layout { shape, push, wrap } = self.layout;
        let lanes = self.lanes.len();
        for line in shape.lines(&self.arrivals) {
            let lane = &mut self.lanes[line[0].device as usize % lanes];
            push(&mut lane.body, line);
            lane.lines += 1;
            lane.points += line.len() as u64;
            if lane.lines == self.lines_per_request {
                lane.finish(wrap);
            }
        }
    }
}

impl Lane {
    fn finish(&mut self, wrap: fn(&[u8]) -> Vec<u8>) {
        if self.lines == 0 {
            return;
        }
        let bytes = wrap(&self.body);
        self.done.push(Request { bytes, points: self.points });
        (self.lines, self.points) = (0, 0);
        self.body.clear();
    }
}

/// One reading. Writing to a vector does not fail.
fn push_narrow(out: &mut Vec<u8>, readings: &[Reading]) {
    let first = readings[0];
    let metric = &METRICS[first.metric];
    let _ = write!(out, "{},device_id=d{:03} value=", metric.name, first.device);
    push_decimal(out, first.value, metric.decimals);
    push_time(out, first.time_ms);
}

/// Readings of one device and time.
fn push_wide(out: &mut Vec<u8>, readings: &[Reading]) {
    let _ = write!(out, "machine,device_id=d{:03}", readings[0].device);
    push_fields(out, readings);
}

/// Readings as JSON, an object a line, as Weir's own endpoint takes them.
pub(crate) fn json() -> Layout {
    let wrap = |lines: &[u8]| client::post("/v1/readings", "application/x-ndjson", lines);
    Layout { shape: Shape::Narrow, push: push_json, wrap }
}

/// One reading.
fn push_json(out: &mut Vec<u8>, readings: &[Reading]) {
    let first = readings[0];
    let metric = &METRICS[first.metric];
    let _ = write!(out, r#"{{"metric":"{}","device_id":"d{:03}","value":"#, metric.name, first.device);
    push_decimal(out, first.value, metric.decimals);
    let _ = writeln!(out, r#","timestamp":{}}}"#, first.time_ms);
}

/// A field per reading, and their time.
pub(crate) fn push_fields(out: &mut Vec<u8>, readings: &[Reading]) {
    for (i, reading) in readings.iter().enumerate() {
        let metric = &METRICS[reading.metric];
        out.push(if i == 0 { b' ' } else { b',' });
        out.extend_from_slice(metric.name.as_bytes());
        out.push(b'=');
        push_decimal(out, reading.value, metric.decimals);
    }
    push_time(out, readings[0].time_ms);
}

/// A time in nanoseconds, which ends a line.
pub(crate) fn push_time(out: &mut Vec<u8>, time_ms: i64) {
    let _ = writeln!(out, " {time_ms}000000");
}

/// Writes a value that is not negative and rounded to so many decimals; much faster than formatting a float.
pub(crate) fn push_decimal(out: &mut Vec<u8>, value: f64, decimals: u32) {
    let scale = 10_u64.pow(decimals);
    let scaled = (value * scale as f64).round() as u64;
    let _ = match decimals {
        0 => write!(out, "{scaled}"),
        _ => write!(out, "{}.{:0width$}", scaled / scale, scaled % scale, width = decimals as usize),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 1, devices: 8, start_ms: 1_700_000_000_000, step_ms: 1000, ticks: 50 };

    fn reading(metric: usize, value: f64) -> Reading {
        Reading { time_ms: 1_700_000_000_001, device: 7, metric, value, arrival: Arrival::OnTime }
    }

    fn line(shape: Shape, readings: &[Reading]) -> String {
        let mut out = Vec::new();
        (shape.layout().push)(&mut out, readings);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn lines_are_line_protocol() {
        let narrow = line(Shape::Narrow, &[reading(0, 65.02)]);
        assert_eq!(narrow, "temperature,device_id=d007 value=65.02 1700000000001000000\n");
        let wide = line(Shape::Wide, &[reading(3, 1480.0), reading(1, 0.0)]);
        assert_eq!(wide, "machine,device_id=d007 rpm=1480,pressure=0.000 1700000000001000000\n");
    }

    #[test]
    fn lines_are_json() {
        let mut out = Vec::new();
        push_json(&mut out, &[reading(0, 65.02)]);
        let text = r#"{"metric":"temperature","device_id":"d007","value":65.02,"timestamp":1700000000001}"#;
        assert_eq!(String::from_utf8(out).expect("ascii"), format!("{text}\n"));
    }

    fn bodies(shape: Shape, lanes: usize, slice: u64) -> Vec<Vec<(String, u64)>> {
        let mut requests = Requests::new(PLAN, shape.layout(), 100, lanes);
        let mut bodies = vec![Vec::new(); lanes];
        while let Some(slice) = requests.slice(slice) {
            for (lane, made) in bodies.iter_mut().zip(slice) {
                for request in made {
                    let text = String::from_utf8(request.bytes).expect("ascii");
                    let body = text.split_once("\r\n\r\n").expect("a head").1.to_owned();
                    lane.push((body, request.points));
                }
            }
        }
        bodies
    }

    #[test]
    fn slices_lose_nothing_and_change_nothing() {
        for shape in [Shape::Narrow, Shape::Wide] {
            assert_eq!(bodies(shape, 2, 500), bodies(shape, 2, u64::MAX), "{shape:?}");
        }
        let narrow = bodies(Shape::Narrow, 1, 300);
        let wide = bodies(Shape::Wide, 1, 300);
        let points = |bodies: &[Vec<(String, u64)>]| bodies[0].iter().map(|(_, points)| points).sum::<u64>();
        assert_eq!(points(&narrow), points(&wide));
        assert_eq!(narrow[0].iter().map(|(text, _)| text.lines().count() as u64).sum::<u64>(), points(&narrow));
        assert!(narrow[0].iter().rev().skip(1).all(|(text, points)| text.lines().count() == 100 && *points == 100));
    }

    #[test]
    fn a_device_keeps_to_its_lane() {
        for (lane, requests) in bodies(Shape::Narrow, 4, 500).iter().enumerate() {
            for line in requests.iter().flat_map(|(text, _)| text.lines()) {
                let device: usize = line.split("device_id=d").nth(1).expect("a tag")[..3].parse().expect("a number");
                assert_eq!(device % 4, lane);
            }
        }
    }
}
