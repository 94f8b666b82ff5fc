//! Taking what a delivery brought: reports, counter points, activities.

use super::{
    Activity, ActivityLabels, ActivityMetric, Amounts, Arc, Commit, Counted, CumulativePoint,
    DAY_MS, Fact, Hash, HashMap, Identity, Labels, Point, QUARTERS_PER_DAY, Refusal, Result, Run,
    SEPARATOR, State, StoreError, Sums, Temporality, TokenKind, UNKNOWN_START_MS, UsageRecord,
    Verdict, by_kind, excess, fact_signed, micros_of, params, quarter_of, rollup, source,
};

/// An activity that is told without persons.
pub(super) struct Impersonal {
    pub(super) label: i64,
    pub(super) labels: ActivityLabels,
    pub(super) amount: i64,
}

impl Commit<'_> {
    pub(super) fn take_record(&mut self, record: &UsageRecord) -> Result<Verdict> {
        let mut key = Hash::new("fact");
        key.text(&record.source).text(&record.id);
        let key = key.long();
        if let Some(known) = self.known(&key)? {
            return self.recognise(known, record);
        }
        self.memory.last_fact += 1;
        let id = self.memory.last_fact;
        let identity = self.identity(&record.identity)?;
        let sku = self.sku(&record.sku)?;
        let at_ms = record.at.as_millisecond();
        let session = match &record.session {
            Some(session) => Some(self.session(session)?),
            None => None,
        };
        let hashed = |domain: &str, id: &Option<Box<str>>| {
            id.as_ref().map(|id| {
                let mut hash = Hash::new(domain);
                hash.text(id);
                hash.short()
            })
        };
        let booked_ms = record.booked_at.as_millisecond();
        let fact = Fact {
            id,
            key,
            received: self.received,
            source: self
                .memory
                .dictionaries
                .source(self.connection, &record.source)?,
            rank: self.terms.rank(&record.source),
            control: self.terms.is_control(record),
            provider_form: record
                .request_id
                .as_ref()
                .is_some_and(|id| id.starts_with("req_")),
            client: matches!(&*record.source, source::EVENTS | source::RETRIES),
            at_ms,
            booked_ms: (booked_ms != at_ms).then_some(booked_ms),
            identity,
            sku,
            model: self.memory.dictionaries.model_of(sku)?,
            session,
            request: hashed("request", &record.request_id),
            client_request: hashed("client request", &record.client_request_id),
            reservation: hashed("reservation", &record.reservation),
            tokens: record.tokens,
            outcome: record.outcome,
            status_code: record.status_code,
            duration_ms: record.duration_ms,
            ttft_ms: record.ttft_ms,
            tools: record.tools,
            query_source: self.label(record.query_source.as_deref())?,
            entrypoint: self.label(record.entrypoint.as_deref())?,
            client_cost: record.client_cost.map(micros_of),
            state: State::default(),
        };
        self.memory.keys.insert(fact.claim(), id);
        self.joins.extend(fact.joins().map(|join| (join, id)));
        self.control_reported(&fact);
        if &*record.source == source::EVENTS {
            self.cover_event(&fact)?;
        }
        self.fresh.push(fact);
        Ok(Verdict::Accepted)
    }

    /// A known key: the same fact again, or another one under its name.
    fn recognise(&mut self, id: i64, record: &UsageRecord) -> Result<Verdict> {
        let Some(known) = self.fact(id)? else {
            return Ok(Verdict::Duplicate);
        };
        if known.tokens == record.tokens {
            return Ok(Verdict::Duplicate);
        }
        Ok(Verdict::Rejected(Refusal {
            code: "id_conflict",
            message: "id: known already with other token counts".to_owned(),
        }))
    }

    pub(super) fn take_point(&mut self, point: &Point) -> Result<Verdict> {
        let start_ms = point.start.as_millisecond();
        let at_ms = point.at.as_millisecond();
        let increases = match point.temporality {
            Temporality::Delta => {
                let mut key = Hash::new("delta");
                key.bytes(&point.series).number(start_ms).number(at_ms);
                if !self.first_seen(key.long())? {
                    return Ok(Verdict::Duplicate);
                }
                vec![(start_ms, fact_signed(point.value))]
            }
            Temporality::Cumulative | Temporality::CumulativeFromUnknown => {
                let start_ms = match point.temporality {
                    Temporality::CumulativeFromUnknown => UNKNOWN_START_MS,
                    _ => start_ms,
                };
                match self.cumulative(point, start_ms)? {
                    Some(increases) => increases,
                    None => return Ok(Verdict::Duplicate),
                }
            }
        };
        let identity = self.identity(&point.identity)?;
        self.note_active(identity, at_ms);
        for (at_ms, amount) in increases {
            self.take_increase(point, identity, at_ms, amount)?;
        }
        Ok(Verdict::Accepted)
    }

    /// Adds a point to its cumulative run and returns how the increases changed.
    fn cumulative(&mut self, point: &Point, start_ms: i64) -> Result<Option<Vec<(i64, i64)>>> {
        let stored = self
            .connection
            .prepare_cached("SELECT points FROM cumulative WHERE series = ? AND start = ?")
            .and_then(|mut select| {
                let mut rows = select.query(params![point.series, start_ms])?;
                rows.next()?.map(|row| row.get(0)).transpose()
            })
            .map_err(StoreError::sql("read a cumulative counter"))?;
        let mut run = match stored {
            Some(points) => {
                let points: Vec<u8> = points;
                Run::from_bytes(start_ms, &points)
            }
            None => Run::new(start_ms),
        };
        let before = run.increases();
        let inserted = run.insert(CumulativePoint {
            at_ms: point.at.as_millisecond(),
            value: point.value,
        });
        if !inserted {
            return Ok(None);
        }
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO cumulative (series, start, received, points) \
                 VALUES (?, ?, ?, ?)",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![
                    point.series,
                    start_ms,
                    self.received,
                    run.to_bytes()
                ])
            })
            .map_err(StoreError::sql("store a cumulative counter"))?;
        let mut changes: HashMap<i64, i64> = HashMap::new();
        for (at_ms, added) in run.increases() {
            *changes.entry(at_ms).or_default() += fact_signed(added);
        }
        for (at_ms, added) in before {
            *changes.entry(at_ms).or_default() -= fact_signed(added);
        }
        changes.retain(|_, change| *change != 0);
        Ok(Some(changes.into_iter().collect()))
    }

    pub(super) fn take_increase(
        &mut self,
        point: &Point,
        identity: i64,
        at_ms: i64,
        amount: i64,
    ) -> Result<()> {
        let mut amounts = Amounts::default();
        let sku = match &point.what {
            Counted::Tokens { kind, sku } => {
                amounts[place_of(*kind)] = amount;
                sku
            }
            Counted::IncludedTokens { kind, sku } => {
                amounts[place_of(TokenKind::Input)] = -amount;
                amounts[place_of(*kind)] = amount;
                sku
            }
            Counted::ClientCost { sku } => {
                amounts[excess::CLIENT_COST] = amount;
                sku
            }
            Counted::Requests { sku } => {
                amounts[excess::REQUESTS] = amount;
                sku
            }
            Counted::Activity { metric, labels } => {
                return self.add_activity(
                    *metric,
                    labels,
                    identity,
                    &point.identity,
                    at_ms,
                    amount,
                );
            }
        };
        let sku = self.sku(sku)?;
        let model = self.memory.dictionaries.model_of(sku)?;
        let day = at_ms.div_euclid(DAY_MS);
        let everyone = self.scope(format_args!("m:{day}"))?;
        let scope = match (&point.session, &point.identity.device) {
            (Some(session), _) => self.session(session)?,
            (None, Some(device)) => self.device_day(device, day)?,
            (None, None) => everyone,
        };
        let quarter = quarter_of(at_ms);
        let source = self
            .memory
            .dictionaries
            .source(self.connection, &point.source)?;
        self.scopes
            .meter((scope, model), [quarter, identity, sku, source], &amounts);
        self.scopes.is_everyone(everyone);
        let row = self.control.entry((day, source, sku)).or_default();
        row[0] += amounts[excess::REQUESTS];
        row[2] += amounts[0];
        row[3] += amounts[1];
        row[4] += amounts[2];
        row[7] += amounts[3];
        Ok(())
    }

    /// Takes an activity; `told` says whether the record it was told with is new, if there is one.
    pub(super) fn take_activity(
        &mut self,
        activity: &Activity,
        told: Option<bool>,
    ) -> Result<Verdict> {
        let is_new = if let Some(is_new) = told {
            is_new
        } else {
            let mut key = Hash::new("activity");
            key.text(&activity.source)
                .text(activity.metric.name())
                .bytes(&activity.id);
            self.first_seen(key.long())?
        };
        if !is_new {
            return Ok(Verdict::Duplicate);
        }
        let identity = self.identity(&activity.identity)?;
        let at_ms = activity.at.as_millisecond();
        self.note_active(identity, at_ms);
        self.add_activity(
            activity.metric,
            &activity.labels,
            identity,
            &activity.identity,
            at_ms,
            fact_signed(activity.amount),
        )?;
        Ok(Verdict::Accepted)
    }

    pub(super) fn add_activity(
        &mut self,
        metric: ActivityMetric,
        labels: &Labels,
        identity: i64,
        who: &Identity,
        at_ms: i64,
        amount: i64,
    ) -> Result<()> {
        let quarter = quarter_of(at_ms);
        let assumed = self.terms.business.assumptions.as_ref();
        if let Some(saved) = assumed.and_then(|a| a.saved_by(metric, labels, amount)) {
            self.moments.saved(identity, at_ms, saved);
        }
        let place = (metric as usize, Arc::as_ptr(labels).cast::<u8>().addr());
        if let Some(told) = self.impersonal.get_mut(&place) {
            told.amount += amount;
            let key = (quarter, identity, metric.name(), told.label);
            *self.activity_sums.entry(key).or_default() += amount;
            return Ok(());
        }
        let text = labels.join(&SEPARATOR.to_string());
        let label = self.memory.dictionaries.label(self.connection, &text)?;
        let key = (quarter, identity, metric.name(), label);
        *self.activity_sums.entry(key).or_default() += amount;
        if metric == ActivityMetric::Lines && labels.first().is_some_and(|kind| &**kind == "added")
        {
            let model = labels.get(1).map(|model| &**model);
            self.moments.lines(identity, at_ms, amount, model);
        }
        let personal = !matches!(
            metric,
            ActivityMetric::Events | ActivityMetric::UnknownMetrics | ActivityMetric::ToolResults
        );
        let (user, team) = if personal {
            self.terms.shown(who, at_ms)
        } else {
            (String::new(), String::new())
        };
        let labels = ActivityLabels {
            metric: metric.name(),
            user,
            team,
            labels: text,
        };
        if !personal {
            let told = Impersonal {
                label,
                labels,
                amount,
            };
            self.impersonal.insert(place, told);
            return Ok(());
        }
        *self.activities.entry(labels).or_default() += amount;
        Ok(())
    }

    pub(super) fn first_seen(&mut self, key: [u8; 16]) -> Result<bool> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO seen (key, received) VALUES (?, ?)")
            .and_then(|mut insert| insert.execute(params![key, self.received]))
            .map(|changed| changed == 1)
            .map_err(StoreError::sql("recognise a point"))
    }

    /// Holds an event against counters: per session, and per device and day.
    pub(super) fn cover_event(&mut self, fact: &Fact) -> Result<()> {
        let amounts = fact.amounts();
        let quarter = quarter_of(fact.at_ms);
        if let Some(session) = fact.session {
            self.scopes.event(session, fact.model, quarter, &amounts);
        }
        let day = fact.at_ms.div_euclid(DAY_MS);
        if let Some(scope) = self.device_day_of(fact.identity, day)? {
            self.scopes.event(scope, fact.model, quarter, &amounts);
        }
        Ok(())
    }

    /// Notes how the counted part of a source's counters has changed.
    pub(super) fn control_counted(
        &mut self,
        (quarter, _, sku): rollup::Key,
        source: i64,
        sums: &Sums,
    ) {
        let day = quarter.div_euclid(QUARTERS_PER_DAY);
        let row = self.control.entry((day, source, sku)).or_default();
        row[1] += sums.requests;
        for (sum, count) in row[8..].iter_mut().zip(sums.tokens) {
            *sum += count;
        }
    }

    pub(super) fn control_reported(&mut self, fact: &Fact) {
        let day = fact.at_ms.div_euclid(DAY_MS);
        let row = self
            .control
            .entry((day, fact.source, fact.sku))
            .or_default();
        row[0] += 1;
        for (sum, count) in row[2..8].iter_mut().zip(by_kind(&fact.tokens)) {
            *sum += count;
        }
    }
}

/// The place of a kind of token in amounts.
fn place_of(kind: TokenKind) -> usize {
    TokenKind::ALL.iter().position(|k| *k == kind).unwrap_or(0)
}
