// The status page: asks /api/status once a second while it is looked at, and draws source → log → sinks.
"use strict";

const byId = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token");

// All text goes in as text, never as HTML.
const make = (name, className, ...inside) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...inside);
  return element;
};

const bytes = (count) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
};
const number = (count) => count.toLocaleString("en");
const seconds = (count) => (count < 10 ? `${count.toFixed(1)} s` : count < 120 ? `${Math.round(count)} s` : `${Math.round(count / 60)} min`);

const card = (name, part, facts) => {
  const list = make("dl", "");
  for (const [label, value] of facts) list.append(make("dt", "", label), make("dd", "", value));
  const state = part.state ? [make("span", "state", part.state.replace("_", " "))] : [];
  const element = make("section", `card ${part.state ?? ""}`, make("h2", "", make("span", "", name), ...state), list);
  if (part.message) element.append(make("p", "", `${part.code ?? ""} ${part.message}`.trim()));
  return element;
};

const sourceCard = (name, source) => {
  const facts = [["lag", bytes(source.lag_bytes)], ["slot", source.slot], ["WAL kept for it", bytes(source.retained_bytes)], ["received", source.received_lsn]];
  const { tables, tables_done, rows, rows_estimate } = source.snapshot;
  if (tables_done < tables) facts.push(["copying", `${tables_done} of ${tables} tables, ${number(rows)} of about ${number(rows_estimate)} rows`]);
  return card(name, source, facts);
};

const logCard = (source) => card("log", {}, [["events", number(source.events)], ["durable", source.durable_lsn], ["confirmed", source.confirmed_flush_lsn]]);

const sinkCard = (name, sink) => {
  const lag = sink.lag_events ? `${number(sink.lag_events)} events, ${bytes(sink.lag_bytes)}, ${seconds(sink.lag_seconds)}` : "none";
  const facts = [["kind", sink.kind], ["lag", lag], ["applied", number(sink.applied)]];
  if (sink.replay) facts.push(["applied again", `${sink.replay.percent} % of events ${number(sink.replay.from)} to ${number(sink.replay.until)}`]);
  if (sink.rejected) facts.push(["refused", number(sink.rejected)]);
  if (sink.attempts) facts.push(["failed attempts", number(sink.attempts)]);
  return card(name, sink, facts);
};

const draw = (status) => {
  byId("summary").textContent = status.summary;
  byId("summary").className = status.state;
  byId("version").textContent = `walbridge ${status.version}`;
  document.title = `${status.state.replace("_", " ")} – walbridge`;
  const pipelines = Object.entries(status.sources).map(([name, source]) => {
    const sinks = Object.entries(status.sinks).filter(([, sink]) => sink.source === name).map(([own, sink]) => sinkCard(own, sink));
    const arrow = () => make("div", "arrow", "→");
    return make("div", "pipeline", sourceCard(name, source), arrow(), logCard(source), arrow(), make("div", "sinks", ...sinks));
  });
  byId("pipelines").replaceChildren(...pipelines);
};

const ask = async () => {
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("api/status", { headers, signal: AbortSignal.timeout(5000) });
    byId("login").hidden = answer.status !== 401;
    if (answer.ok) draw(await answer.json());
    else byId("summary").textContent = answer.status === 401 ? "locked" : (await answer.json()).error;
  } catch (problem) {
    byId("summary").textContent = "walbridge does not answer; what is below is old";
    byId("summary").className = "gone";
  }
};

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  sessionStorage.setItem("token", token);
  ask();
});
const loop = async () => {
  if (!document.hidden) await ask();
  setTimeout(loop, 1000);
};
loop();
