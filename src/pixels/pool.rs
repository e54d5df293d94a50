//! The threads, and the queue before them.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{Encode, Fit, Header, Made, PixelError, Source, work};
use crate::telemetry::Metrics;

type Job = Box<dyn FnOnce() + Send>;

/// Decodes, scales and encodes pictures on threads of its own. A clone is the same pool; its threads end with the last.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// A permit per job that runs or waits.
    places: Arc<Semaphore>,
    /// A permit per thread. A job holds it until it is really done, so whoever has one finds a free thread.
    threads: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    metrics: Metrics,
    time: Duration,
    patience: Duration,
}

impl Pool {
    /// Jobs that may wait, per thread: a page of a gallery asks for a hundred thumbnails at once, and takes no 503 for one.
    pub const WAITING: usize = 64;
    /// Longest wait for a thread.
    pub const PATIENCE: Duration = Duration::from_secs(15);
    /// Longest time a job may take.
    pub const TIME: Duration = Duration::from_secs(2);

    /// Starts the threads: as many as there are cores, unless told otherwise.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(threads: Option<NonZeroUsize>, metrics: Metrics) -> io::Result<Self> {
        Self::with_times(threads, metrics, Self::TIME, Self::PATIENCE)
    }

    pub(super) fn with_times(
        threads: Option<NonZeroUsize>,
        metrics: Metrics,
        time: Duration,
        patience: Duration,
    ) -> io::Result<Self> {
        let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("pixels-{number}")).spawn(move || serve(&queue))?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                places: Arc::new(Semaphore::new(threads * (1 + Self::WAITING))),
                threads: Arc::new(Semaphore::new(threads)),
                jobs,
                metrics,
                time,
                patience,
            }),
        })
    }

    /// Reads a picture's header.
    pub async fn header(&self, source: Source) -> Result<Header, PixelError> {
        self.run(move |deadline| work::header(&source, deadline)).await
    }

    /// Makes a picture that fits, in memory.
    pub async fn resize(&self, source: Source, fit: Fit, encode: Encode) -> Result<Made<Vec<u8>>, PixelError> {
        self.resize_into(source, fit, encode, Vec::new()).await
    }

    /// Makes a picture that fits and writes it to `out`, which comes back with the result. After an error, something may
    /// have been written.
    pub async fn resize_into<W>(&self, source: Source, fit: Fit, encode: Encode, out: W) -> Result<Made<W>, PixelError>
    where
        W: Write + Send + 'static,
    {
        self.run(move |deadline| work::resize(&source, fit, encode, out, deadline)).await
    }

    /// Runs `work` on a thread of the pool, and counts how it went.
    ///
    /// Dropping the future does not stop work that has begun.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce(Instant) -> Result<T, PixelError> + Send + 'static,
    {
        let result = self.queue(work).await;
        let label = result.as_ref().map_or_else(PixelError::label, |_| "ok");
        self.inner.metrics.pixel_jobs.with_label_values(&[label]).inc();
        result
    }

    async fn queue<T, F>(&self, work: F) -> Result<T, PixelError>
    where
        T: Send + 'static,
        F: FnOnce(Instant) -> Result<T, PixelError> + Send + 'static,
    {
        let Inner { places, threads, jobs, metrics, time, patience } = &*self.inner;
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| PixelError::Busy)?;
        let Ok(Ok(turn)) = timeout(*patience, Arc::clone(threads).acquire_owned()).await else {
            return Err(PixelError::Busy);
        };
        let (began, seconds) = (Instant::now(), metrics.pixel_seconds.clone());
        let deadline = began + *time;
        let (reply, answer) = oneshot::channel();
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(deadline))).unwrap_or(Err(PixelError::Failed));
            seconds.observe(began.elapsed().as_secs_f64());
            // What a decoder says when its source fails is of no use; the time tells why it did.
            let is_late = result.is_err() && Instant::now() >= deadline;
            drop((turn, place));
            // Nobody waits any more after a timeout.
            let _ = reply.send(if is_late { Err(PixelError::Timeout) } else { result });
        };
        jobs.send(Box::new(job)).map_err(|_| PixelError::Failed)?;
        match timeout(*time, answer).await {
            Ok(result) => result.unwrap_or(Err(PixelError::Failed)),
            Err(_) => Err(PixelError::Timeout),
        }
    }
}

/// Takes jobs until nobody can send any.
fn serve(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
        let Ok(job) = job else { return };
        // The job catches what its work does; this is for what it drops.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}
