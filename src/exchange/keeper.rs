//! Pictures out of an answer → store; their URLs into the answer.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    core::{Core, Settings},
    error::{Error, Result},
    opaque::opaque,
    rewrite::{Event, Fill, Slot, base64::Encoder},
    store::{Generation, NewRecord, PictureWriter, Spool, Staged, StoreError, Stored},
    upstream::{Body, Segment, Source},
};

/// Turns the events of one answer into the bytes that go out.
pub(super) struct Keeper {
    core: Arc<Core>,
    settings: Arc<Settings>,
    generation: Generation,
    /// Taken from its front, while more may stand behind.
    out: VecDeque<Part>,
    /// Bytes in `out`, as far as they are known.
    pending: u64,
    /// So many of the parts end between two events of a stream, or wherever else they may be sent without the rest.
    whole: usize,
    /// So many of these wait for no picture.
    quick: usize,
    /// Pictures under way, by their numbers in events.
    pictures: HashMap<u32, Incomplete>,
    commits: Vec<JoinHandle<Result<Stored, StoreError>>>,
    /// Links in `out`.
    links: usize,
    /// Fetches of one answer that may run at once.
    fetching: Arc<Semaphore>,
}

opaque!(Keeper { pending, whole, links });

/// How many pictures named in one answer are fetched at once.
const FETCHES_AT_ONCE: usize = 4;

/// Something that goes out, now or later.
enum Part {
    Segment(Segment),
    /// A picture being fetched, and where it goes.
    Link(Slot, JoinHandle<Result<Staged>>),
}

/// A picture of which not everything has come.
struct Incomplete {
    slot: Slot,
    /// `None`: it cannot be kept, and need not be for the answer to be right.
    writer: Option<PictureWriter>,
    /// Bytes whose text can be had back by encoding them again; the text of the others.
    plain: u64,
    raw: Option<Spool>,
}

impl Part {
    /// Its length, as far as it is known.
    fn len(&self) -> u64 {
        match self {
            Part::Segment(segment) => segment.len(),
            Part::Link(slot, _) => slot.original.len() as u64,
        }
    }
}

impl Keeper {
    pub(super) fn new(core: Arc<Core>, settings: Arc<Settings>, generation: Generation) -> Self {
        Self {
            fetching: Arc::new(Semaphore::new(FETCHES_AT_ONCE)),
            core,
            settings,
            generation,
            out: VecDeque::new(),
            pending: 0,
            whole: 0,
            quick: 0,
            pictures: HashMap::new(),
            commits: Vec::new(),
            links: 0,
        }
    }

    /// Bytes waiting to go out.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Whether there are parts that may be sent without those that come.
    pub(super) fn has_whole(&self) -> bool {
        self.whole > 0
    }

    /// All parts so far may be sent without those that come.
    pub(super) fn all_whole(&mut self) {
        self.whole = self.out.len();
        if !self.is_waiting() {
            self.quick = self.whole;
        }
    }

    /// Acts on what the rewriter said.
    ///
    /// # Errors
    /// When a picture whose URL must be answered cannot be kept.
    pub(super) async fn take(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            match event {
                Event::Copy(bytes) => self.emit(Segment::Bytes(bytes)),
                Event::Start { picture, slot } => {
                    let writer = Some(self.core.store.writer());
                    self.pictures.insert(picture, Incomplete { slot, writer, plain: 0, raw: None });
                }
                Event::Data { picture, decoded, raw } => self.data(picture, decoded, raw).await?,
                Event::End { picture } => self.end(picture).await?,
                Event::Release { picture, tail } => {
                    if let Some(picture) = self.pictures.remove(&picture) {
                        self.release(picture, tail).await?;
                    }
                }
                Event::Link { slot, url } => self.link(slot, url),
                Event::Between => self.all_whole(),
            }
        }
        Ok(())
    }

    /// Whether something that is pending may have to be waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.commits.is_empty() || self.links > 0
    }

    /// Gives out what may be sent without the parts that come: first what waits for no picture. All there is, when nothing
    /// may.
    ///
    /// # Errors
    /// When a picture whose URL is in there could not be kept.
    pub(super) async fn give_out(&mut self) -> Result<Body> {
        match (std::mem::take(&mut self.quick), self.whole) {
            (0, 0) => self.settle_all().await,
            (0, whole) => self.settle(whole).await,
            (quick, _) => Ok(self.at_once(quick)),
        }
    }

    /// Gives out all there is.
    ///
    /// # Errors
    /// As [`give_out`](Self::give_out).
    pub(super) async fn settle_all(&mut self) -> Result<Body> {
        self.settle(self.out.len()).await
    }

    /// Gives out so many parts, none of which waits.
    fn at_once(&mut self, parts: usize) -> Body {
        let mut body = Body::default();
        self.whole -= parts.min(self.whole);
        for part in self.out.drain(..parts.min(self.out.len())) {
            self.pending -= part.len();
            if let Part::Segment(segment) = part {
                body.push(segment);
            }
        }
        body
    }

    /// Waits until every picture so far is safe, and gives out so many parts.
    async fn settle(&mut self, parts: usize) -> Result<Body> {
        let mut body = Body::default();
        (self.whole, self.quick) = (0, 0);
        let later = self.out.split_off(parts.min(self.out.len()));
        self.pending = later.iter().map(Part::len).sum();
        for part in std::mem::replace(&mut self.out, later) {
            match part {
                Part::Segment(segment) => body.push(segment),
                Part::Link(slot, fetch) => {
                    self.links -= 1;
                    let fetched = fetch.await.unwrap_or(Err(StoreError::CutOff.into()));
                    self.core
                        .metrics
                        .fetches
                        .with_label_values(&["answer", if fetched.is_ok() { "ok" } else { "failed" }])
                        .inc();
                    match fetched {
                        Ok(staged) => {
                            for segment in self.filled(&slot, staged).await? {
                                body.push(segment);
                            }
                        }
                        Err(error) => {
                            log::warn!(
                                "{}: a picture in the answer stays where it is: {error}",
                                self.generation.request_id
                            );
                            body.push(Segment::Bytes(slot.original));
                        }
                    }
                }
            }
        }
        self.safe().await?;
        Ok(body)
    }

    async fn safe(&mut self) -> Result<()> {
        for commit in std::mem::take(&mut self.commits) {
            let stored = commit.await.unwrap_or(Err(StoreError::CutOff));
            count(&self.core, &stored);
            stored?;
        }
        Ok(())
    }

    fn emit(&mut self, segment: Segment) {
        self.push(Part::Segment(segment));
    }

    fn push(&mut self, part: Part) {
        self.pending += part.len();
        self.out.push_back(part);
    }

    fn text(&mut self, text: impl Into<Bytes>) {
        self.emit(Segment::Bytes(text.into()));
    }

    async fn data(&mut self, picture: u32, decoded: Bytes, raw: Option<Bytes>) -> Result<()> {
        let Some(picture) = self.pictures.get_mut(&picture) else { return Ok(()) };
        let spooled = match (&mut picture.raw, raw) {
            (spool, Some(raw)) => spool.get_or_insert_with(|| self.core.store.spool()).write(&raw).await,
            (_, None) => {
                picture.plain += decoded.len() as u64;
                Ok(())
            }
        };
        let Some(writer) = &mut picture.writer else { return Ok(()) };
        let written = match spooled {
            Ok(()) => writer.write(&decoded).await,
            failed => failed,
        };
        match written {
            Err(error) if picture.slot.passed_on => {
                picture.writer = None;
                self.lost(&error);
                Ok(())
            }
            Err(error) => {
                self.lost(&error);
                Err(error.into())
            }
            Ok(()) => Ok(()),
        }
    }

    /// A picture is complete.
    async fn end(&mut self, picture: u32) -> Result<()> {
        let Some(mut picture) = self.pictures.remove(&picture) else { return Ok(()) };
        let Some(writer) = &mut picture.writer else { return Ok(()) };
        match writer.finish().await {
            Ok(staged) => {
                let slot = picture.slot.clone();
                if slot.passed_on {
                    // The bytes have gone out; a URL follows only when it is good.
                    return self.keep_passed_on(slot, staged).await;
                }
                for segment in self.filled(&slot, staged).await? {
                    self.emit(segment);
                }
                Ok(())
            }
            Err(StoreError::NotAPicture) => self.release(picture, Bytes::new()).await,
            Err(error) => {
                self.lost(&error);
                if picture.slot.passed_on { Ok(()) } else { Err(error.into()) }
            }
        }
    }

    async fn keep_passed_on(&mut self, slot: Slot, staged: Staged) -> Result<()> {
        let url = self.url(&staged);
        let stored = self.commit(staged).await.unwrap_or(Err(StoreError::CutOff));
        count(&self.core, &stored);
        match stored {
            Ok(_) if slot.fill == Fill::Url => {
                self.text(slot.lead);
                self.text(url);
            }
            Ok(_) => {}
            Err(error) => log::error!("{}: a picture could not be kept: {error}", self.generation.request_id),
        }
        Ok(())
    }

    /// What goes into a slot. The picture becomes safe meanwhile; [`settle`](Self::settle) waits for it.
    async fn filled(&mut self, slot: &Slot, staged: Staged) -> Result<Vec<Segment>> {
        let url = self.url(&staged);
        let id = staged.id();
        let commit = self.commit(staged);
        self.commits.push(commit);
        let url = Segment::Bytes(url.into());
        let lead = Segment::Bytes(slot.lead.clone());
        Ok(match &slot.fill {
            Fill::Nothing => Vec::new(),
            Fill::Url => vec![lead, url],
            Fill::Base64 | Fill::Base64ThenUrl(_) => {
                self.safe().await?;
                let picture = self.core.store.get(&id).await?.ok_or(Error::from(StoreError::CutOff))?;
                let mut segments = vec![lead, Segment::Base64(Source::Picture(picture))];
                if let Fill::Base64ThenUrl(between) = &slot.fill {
                    segments.extend([Segment::Bytes(between.clone()), url]);
                }
                segments
            }
        })
    }

    fn url(&self, staged: &Staged) -> String {
        self.settings.links.url(&staged.id(), staged.format())
    }

    fn commit(&self, staged: Staged) -> JoinHandle<Result<Stored, StoreError>> {
        let record = NewRecord { generation: Some(self.generation.clone()) };
        let seconds = self.core.metrics.commit_seconds.clone();
        tokio::spawn(async move {
            let since = Instant::now();
            let stored = staged.commit(record).await;
            seconds.observe(since.elapsed().as_secs_f64());
            stored
        })
    }

    /// It was no picture: what stood there goes out.
    async fn release(&mut self, picture: Incomplete, tail: Bytes) -> Result<()> {
        let Incomplete { slot, writer, plain, raw } = picture;
        let Some(writer) = writer.filter(|_| !slot.passed_on) else { return Ok(()) };
        self.text(slot.original);
        let mut spool = self.core.store.spool();
        let mut replay = writer.into_replay().await?;
        let mut encoder = Encoder::default();
        let mut left = plain;
        while left > 0
            && let Some(piece) = replay.chunk().await?
        {
            let piece = piece.get(..usize::try_from(left).unwrap_or(usize::MAX).min(piece.len())).unwrap_or_default();
            left -= piece.len() as u64;
            spool.write(&encoder.push(piece)).await?;
        }
        spool.write(&encoder.finish()).await?;
        for spool in std::iter::once(spool).chain(raw) {
            let text = Source::Spool(spool.freeze().await?);
            let len = text.len();
            self.emit(Segment::Raw(text, 0..len));
        }
        self.text(tail);
        Ok(())
    }

    fn link(&mut self, slot: Slot, url: String) {
        let (core, settings) = (Arc::clone(&self.core), Arc::clone(&self.settings));
        let fetching = Arc::clone(&self.fetching);
        let fetch = tokio::spawn(async move {
            let _turn = fetching.acquire_owned().await;
            let mut answer = settings.fetcher.open(&url).await?;
            let mut writer = core.store.writer();
            while let Some(piece) = answer.chunk().await? {
                writer.write(&piece).await?;
            }
            Ok(writer.finish().await?)
        });
        self.links += 1;
        self.push(Part::Link(slot, fetch));
    }

    /// The answer is complete; so many of its pictures stayed in it as they came.
    pub(super) fn left_out(&self, pictures: u64) {
        if pictures > 0 {
            self.core.metrics.pictures_left_out.inc_by(pictures);
            log::warn!(
                "{}: {pictures} pictures stay in the answer: it has more than limits.images_per_answer",
                self.generation.request_id
            );
        }
    }

    fn lost(&self, error: &StoreError) {
        self.core.metrics.pictures_lost.inc();
        log::error!("{}: a picture could not be kept: {error}", self.generation.request_id);
    }
}

fn count(core: &Core, stored: &Result<Stored, StoreError>) {
    match stored {
        Ok(stored) => {
            core.metrics.pictures_stored.inc();
            if stored.deduplicated {
                core.metrics.pictures_deduplicated.inc();
            } else {
                core.metrics.picture_bytes_stored.inc_by(stored.facts.len);
            }
        }
        Err(_) => core.metrics.pictures_lost.inc(),
    }
}
