//! The run queue, which limits concurrent runs by number and by memory, and shares them fairly
//! between projects. Runs with the priority `interactive`, for which someone waits, start before
//! `scheduled` ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use belljar_engine::Machine;
use belljar_protocol::{Limits, Priority};
use tokio::sync::oneshot;

use crate::caller::Caller;
use crate::config::RunConfig;
use crate::memory_account::is_fair;

/// The time for which smaller runs may overtake a run that is too large for the free memory. After
/// that, none may overtake it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The number of copies of a run's output that the server holds until the run ends: as it arrived,
/// and as the JSON of its events, in which a control character has six bytes.
const HELD_OF_OUTPUT: u64 = 8;
/// The number of copies of a run's result, which is already JSON.
const HELD_OF_RESULT: u64 = 2;

/// The capacity that runs share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// The maximum number of concurrent runs.
    pub(crate) runs: u32,
    /// The maximum sum of the memory limits of running runs, including the memory that the server
    /// may need for their output.
    pub(crate) memory_bytes: u64,
    /// The maximum number of queued runs.
    pub(crate) waiting: u32,
}

impl Capacity {
    /// Returns the capacity of this machine under a configuration.
    pub(crate) fn new(config: &RunConfig, machine: Machine) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        Self {
            runs: config.concurrent.unwrap_or(processors * 4).max(1),
            memory_bytes: config.memory_bytes.map_or(machine.memory_bytes / 4 * 3, |bytes| bytes.0),
            waiting: config.queue,
        }
    }
}

/// A request for a place to run.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) project_id: String,
    pub(crate) priority: Priority,
    /// Memory limit of the sandbox.
    pub(crate) memory_bytes: u64,
    /// Memory that the server may need for the output.
    pub(crate) held_bytes: u64,
    /// Maximum number of concurrent runs of the project.
    pub(crate) max_of_project: u32,
}

impl Ask {
    /// Returns the request for a place of a run.
    pub(super) fn new(caller: &Caller, priority: Priority, limits: &Limits) -> Self {
        let (output_bytes, result_bytes) = (limits.output_bytes.0, limits.result_bytes.0);
        Self {
            project_id: caller.project_id().to_owned(),
            priority,
            memory_bytes: limits.memory_bytes.0,
            held_bytes: output_bytes * HELD_OF_OUTPUT + result_bytes * HELD_OF_RESULT,
            max_of_project: caller.project.settings.quotas.concurrent_runs.unwrap_or(u32::MAX),
        }
    }
}

/// The queue of runs. A clone shares the same queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: u32,
    memory_bytes: u64,
    waiting: u32,
    /// The number of turns so far. Among equal projects, the one whose last turn is oldest is next.
    turn: u64,
    projects: BTreeMap<String, Project>,
}

#[derive(Debug, Default)]
struct Project {
    running: u32,
    last_turn: u64,
    /// The queued runs by priority.
    waiting: [VecDeque<Waiting>; 2],
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    since: Instant,
    turn: oneshot::Sender<Place>,
}

/// A place to run. When it is dropped, the next run gets it.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Shared>,
    project_id: String,
    memory_bytes: u64,
    held_bytes: u64,
    has_sandbox: bool,
}

/// The answer to a request for a place.
pub(crate) enum Turn {
    /// The run can start now.
    Now(Place),
    /// The run is queued and receives a place later. A caller that stops waiting drops the
    /// receiver.
    Later(oneshot::Receiver<Place>),
    /// The queue is full.
    Full,
    /// The project's share of the queue is full.
    ShareTaken,
}

impl Queue {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self(Arc::new(Shared { capacity, state: Mutex::default() }))
    }

    /// Requests a place. `must` is for runs that were accepted before, which are never refused.
    pub(crate) fn ask(&self, ask: Ask, must: bool) -> Turn {
        let mut state = self.0.state();
        state.forget_gone();
        let is_first = state
            .projects
            .get(&ask.project_id)
            .is_none_or(|project| project.waiting.iter().all(VecDeque::is_empty));
        if is_first
            && state.overdue(self.0.capacity).is_none()
            && state.has_room(self.0.capacity, &ask)
        {
            return Turn::Now(state.seat(&self.0, &ask));
        }
        let most = self.0.capacity.waiting;
        if !must && state.waiting >= most {
            return Turn::Full;
        }
        let of_project: usize = state
            .projects
            .get(&ask.project_id)
            .map_or(0, |project| project.waiting.iter().map(VecDeque::len).sum());
        // The first queued run of a project is accepted while the queue has any place.
        if !must
            && of_project > 0
            && !is_fair(of_project as u64 + 1, u64::from(state.waiting) + 1, u64::from(most))
        {
            return Turn::ShareTaken;
        }
        state.waiting += 1;
        let (turn, later) = oneshot::channel();
        let project = state.projects.entry(ask.project_id.clone()).or_default();
        project.waiting[ask.priority as usize].push_back(Waiting {
            ask,
            since: Instant::now(),
            turn,
        });
        Turn::Later(later)
    }

    /// Returns the number of running and of queued runs.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let mut state = self.0.state();
        state.forget_gone();
        (state.running, state.waiting)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, capacity: Capacity, ask: &Ask) -> bool {
        let of_project = self.projects.get(&ask.project_id).map_or(0, |project| project.running);
        // A run that exceeds the capacity runs alone.
        let fits = self.running == 0
            || self.memory_bytes.saturating_add(ask.memory_bytes + ask.held_bytes)
                <= capacity.memory_bytes;
        self.running < capacity.runs && fits && of_project < ask.max_of_project
    }

    fn seat(&mut self, queue: &Arc<Shared>, ask: &Ask) -> Place {
        self.running += 1;
        self.memory_bytes += ask.memory_bytes + ask.held_bytes;
        self.turn += 1;
        let project = self.projects.entry(ask.project_id.clone()).or_default();
        project.running += 1;
        project.last_turn = self.turn;
        Place {
            queue: Arc::clone(queue),
            project_id: ask.project_id.clone(),
            memory_bytes: ask.memory_bytes,
            held_bytes: ask.held_bytes,
            has_sandbox: true,
        }
    }

    /// Removes runs that no longer wait.
    fn forget_gone(&mut self) {
        let mut gone = 0;
        for waiting in self.projects.values_mut().flat_map(|project| &mut project.waiting) {
            let before = waiting.len();
            waiting.retain(|waiting| !waiting.turn.is_closed());
            gone += before - waiting.len();
        }
        self.waiting -= gone as u32;
        self.projects.retain(|_, project| {
            project.running > 0 || project.waiting.iter().any(|waiting| !waiting.is_empty())
        });
    }

    /// Returns the project and priority of the run that has been overtaken for too long and waited
    /// the longest. Such a run waits for capacity, not for its own project.
    fn overdue(&self, capacity: Capacity) -> Option<(String, usize)> {
        let fronts = self.projects.iter().flat_map(|(id, project)| {
            (0..2).filter_map(move |priority| {
                project.waiting[priority].front().map(|waiting| (id, project, priority, waiting))
            })
        });
        let passed_by = fronts.filter(|(_, project, _, waiting)| {
            project.running < waiting.ask.max_of_project
                && waiting.since.elapsed() >= PATIENCE
                && !self.has_room(capacity, &waiting.ask)
        });
        passed_by
            .min_by_key(|(_, _, _, waiting)| waiting.since)
            .map(|(id, _, priority, _)| (id.clone(), priority))
    }

    /// Returns the project and priority of the next run. Among the projects with a run of the
    /// highest priority that fits, it is the one with the fewest running runs, and among these the
    /// one whose last turn is oldest.
    fn next_project(&self, capacity: Capacity) -> Option<(String, usize)> {
        if self.overdue(capacity).is_some() {
            return None;
        }
        (0..2).find_map(|priority| {
            let could = self.projects.iter().filter(|(_, project)| {
                project.waiting[priority]
                    .front()
                    .is_some_and(|waiting| self.has_room(capacity, &waiting.ask))
            });
            could
                .min_by_key(|(_, project)| (project.running, project.last_turn))
                .map(|(id, _)| (id.clone(), priority))
        })
    }
}

impl Place {
    /// Releases the place of the sandbox for another run. The memory for the output stays reserved
    /// until this is dropped.
    pub(crate) fn sandbox_is_gone(&mut self) {
        if std::mem::take(&mut self.has_sandbox) {
            let (project_id, memory_bytes) = (&self.project_id, self.memory_bytes);
            self.queue.give_back(|state| {
                state.running -= 1;
                state.memory_bytes -= memory_bytes;
                if let Some(project) = state.projects.get_mut(project_id) {
                    project.running -= 1;
                }
            });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sandbox_is_gone();
        let held_bytes = self.held_bytes;
        self.queue.give_back(|state| state.memory_bytes -= held_bytes);
    }
}

impl Shared {
    /// Releases capacity, and gives places to queued runs.
    fn give_back(self: &Arc<Self>, take: impl FnOnce(&mut State)) {
        let mut seated = Vec::new();
        let mut state = self.state();
        take(&mut state);
        state.forget_gone();
        while let Some((id, priority)) = state.next_project(self.capacity) {
            let Some(waiting) = state
                .projects
                .get_mut(&id)
                .and_then(|project| project.waiting[priority].pop_front())
            else {
                break;
            };
            state.waiting -= 1;
            let place = state.seat(self, &waiting.ask);
            seated.push((waiting.turn, place));
        }
        drop(state);
        for (turn, place) in seated {
            // If the receiver is gone, the place is dropped and comes back here.
            let _ = turn.send(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(project: &str, priority: Priority) -> Ask {
        Ask {
            project_id: project.into(),
            priority,
            memory_bytes: 1,
            held_bytes: 0,
            max_of_project: 100,
        }
    }

    fn queue(runs: u32) -> Queue {
        Queue::new(Capacity { runs, memory_bytes: 1000, waiting: 10 })
    }

    fn now(turn: Turn) -> Place {
        match turn {
            Turn::Now(place) => place,
            Turn::Later(_) => panic!("it has to wait"),
            Turn::Full | Turn::ShareTaken => panic!("it is turned away"),
        }
    }

    fn later(turn: Turn) -> oneshot::Receiver<Place> {
        match turn {
            Turn::Later(later) => later,
            Turn::Now(_) => panic!("it does not wait"),
            Turn::Full | Turn::ShareTaken => panic!("it is turned away"),
        }
    }

    #[test]
    fn interactive_runs_start_before_scheduled_ones() {
        let queue = queue(1);
        let place = now(queue.ask(ask("a", Priority::Interactive), false));
        let mut scheduled = later(queue.ask(ask("a", Priority::Scheduled), false));
        let mut interactive = later(queue.ask(ask("a", Priority::Interactive), false));
        drop(place);
        assert!(scheduled.try_recv().is_err());
        drop(interactive.try_recv().unwrap());
        assert!(scheduled.try_recv().is_ok());
    }

    #[test]
    fn a_project_with_many_runs_does_not_hold_up_another() {
        let queue = queue(2);
        let (first, second) = (
            now(queue.ask(ask("a", Priority::Interactive), false)),
            now(queue.ask(ask("a", Priority::Interactive), false)),
        );
        let mut of_a: Vec<_> =
            (0..5).map(|_| later(queue.ask(ask("a", Priority::Interactive), false))).collect();
        let mut of_b = later(queue.ask(ask("b", Priority::Interactive), false));
        drop(first);
        let b = of_b.try_recv().unwrap();
        assert!(of_a.iter_mut().all(|waiting| waiting.try_recv().is_err()));
        drop((second, b));
        assert_eq!(of_a.iter_mut().filter_map(|waiting| waiting.try_recv().ok()).count(), 5);
    }

    #[test]
    fn memory_and_the_projects_own_number_bound_what_runs() {
        let queue = queue(100);
        let large = Ask { memory_bytes: 600, ..ask("a", Priority::Interactive) };
        let place = now(queue.ask(large.clone(), false));
        let mut waiting = later(queue.ask(large, false));
        drop(place);
        assert!(waiting.try_recv().is_ok());
        let alone = Ask { memory_bytes: 5000, ..ask("b", Priority::Interactive) };
        drop(now(queue.ask(alone, false)));
        let one = Ask { max_of_project: 1, ..ask("c", Priority::Interactive) };
        let _place = now(queue.ask(one.clone(), false));
        let _waits = later(queue.ask(one, false));
        assert_eq!(queue.counts(), (1, 1));
    }

    #[test]
    fn a_large_run_is_passed_by_for_a_while_only() {
        let queue = queue(100);
        let large = Ask { memory_bytes: 900, ..ask("a", Priority::Interactive) };
        let small = Ask { memory_bytes: 200, ..ask("b", Priority::Interactive) };
        let first = now(queue.ask(small.clone(), false));
        let mut waiting = later(queue.ask(large, false));
        drop(now(queue.ask(small.clone(), false)));
        for project in queue.0.state().projects.values_mut() {
            for waiting in project.waiting.iter_mut().flatten() {
                waiting.since = Instant::now().checked_sub(PATIENCE).unwrap();
            }
        }
        let mut passed = later(queue.ask(small, false));
        drop(first);
        let place = waiting.try_recv().unwrap();
        assert!(passed.try_recv().is_err());
        drop(place);
        assert!(passed.try_recv().is_ok());
    }

    #[test]
    fn what_a_run_wrote_is_in_the_account_until_the_run_is_over() {
        let queue = queue(100);
        let writes = Ask { held_bytes: 600, ..ask("a", Priority::Interactive) };
        let mut place = now(queue.ask(writes.clone(), false));
        let small = Ask { memory_bytes: 300, ..ask("b", Priority::Interactive) };
        let other = now(queue.ask(small, false));
        let mut waiting = later(queue.ask(writes, false));
        place.sandbox_is_gone();
        assert_eq!(queue.counts(), (1, 1));
        assert!(waiting.try_recv().is_err());
        drop(place);
        let next = waiting.try_recv().unwrap();
        drop((next, other));
        assert_eq!((queue.counts(), queue.0.state().memory_bytes), ((0, 0), 0));
    }

    #[test]
    fn a_full_queue_turns_away_and_forgets_those_who_left() {
        let queue = queue(1);
        let _place = now(queue.ask(ask("a", Priority::Interactive), false));
        let of = |project: &str, count: usize| -> Vec<_> {
            (0..count)
                .map(|_| later(queue.ask(ask(project, Priority::Interactive), false)))
                .collect()
        };
        let waiting = of("a", 5);
        assert!(
            matches!(queue.ask(ask("a", Priority::Interactive), false), Turn::ShareTaken),
            "half of it is for others"
        );
        let others = (of("b", 2), of("c", 1), of("d", 1), of("e", 1));
        assert!(matches!(queue.ask(ask("f", Priority::Interactive), false), Turn::Full));
        drop(others);
        let _must = later(queue.ask(ask("b", Priority::Interactive), true));
        drop(waiting);
        assert_eq!(queue.counts(), (1, 1));
    }

    #[test]
    fn a_place_whose_receiver_is_gone_passes_to_the_next_run() {
        let queue = queue(1);
        let place = now(queue.ask(ask("a", Priority::Interactive), false));
        drop(later(queue.ask(ask("a", Priority::Interactive), false)));
        drop(place);
        assert_eq!(queue.counts(), (0, 0));
    }
}
