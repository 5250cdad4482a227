# SPDX-License-Identifier: Apache-2.0
"""The style sheet of all pages."""

CSS = """\
:root { --ink: #0f172a; --muted: #64748b; --line: #e2e8f0; --night: #0b1220; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; }
header { background: var(--night); color: #e2e8f0; padding: 36px 0 44px; }
.inner, section { width: min(1120px, 100% - 40px); margin: 0 auto; }
.top { color: #94a3b8; font-size: 14px; } .top b { color: #fff; }
h1 { margin: 4px 0 0; font-size: 30px; letter-spacing: -.02em; color: #fff; }
.sub { margin: 2px 0 24px; color: #94a3b8; }
.badge { margin-left: 10px; padding: 2px 10px; border-radius: 99px; font-size: 12.5px; font-weight: 600; }
.good { background: #064e3b; color: #6ee7b7; } .badge.bad { background: #7f1d1d; color: #fecaca; }
.cards { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; }
.card { background: #131c2f; border: 1px solid #1e293b; border-radius: 10px; padding: 14px 16px; min-width: 0; }
.card h3 { margin: 0; font-size: 12.5px; font-weight: 500; color: #94a3b8; }
.card p { margin: 2px 0; font-size: 27px; font-weight: 650; letter-spacing: -.02em; color: #fff; }
.card i { font-style: normal; font-size: 15px; font-weight: 500; color: #94a3b8; margin-left: 4px; }
.card small { color: #94a3b8; font-size: 12.5px; display: block; line-height: 1.35; }
section { margin-top: 20px; background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 22px 26px; }
section:last-child { margin-bottom: 48px; }
h2 { margin: 0; font-size: 19px; letter-spacing: -.01em; }
h4 { margin: 18px 0 4px; font-size: 13px; }
.lead { margin: 2px 0 14px; color: var(--muted); } .dim { color: var(--muted); font-size: 13.5px; }
.plot { display: block; width: 100%; }
.dark { display: block; width: 100%; border-radius: 8px; background: var(--night); }
.wide { margin-bottom: 18px; }
.split { display: grid; grid-template-columns: 2fr 1fr; gap: 26px; margin-top: 8px; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 5px 16px; margin: 0; font-size: 14px; }
dt { color: var(--muted); } dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
.scale { display: flex; gap: 8px; align-items: center; font-size: 13px; color: var(--muted); }
.ramp { flex: 1; height: 10px; border-radius: 5px;
  background: linear-gradient(90deg, #4458cb, #4687fb, #2cb7ef, #1fe0b6, #61fc6c, #a9fb39, #e1dc37, #fda630,
  #f1690f, #c52602); }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 14px; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 8px; }
figcaption { font-size: 13px; color: var(--muted); margin-top: 6px; } figcaption b { color: var(--ink); }
figcaption span { float: right; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { width: 100%; border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
thead { color: var(--muted); font-size: 13px; } thead th { font-weight: 400; }
th, td { padding: 9px 10px; border-bottom: 1px solid var(--line); text-align: right; font-weight: 400; }
th { text-align: left; padding-left: 0; } tbody th { font-weight: 600; }
th small { display: block; font-weight: 400; color: var(--muted); }
td.left { text-align: left; } td.bar { width: 24%; padding-right: 0; }
td.bar div { display: flex; height: 12px; border-radius: 6px; overflow: hidden; background: #f1f5f9; }
.notice { margin: 6px 0; padding: 10px 14px; border-radius: 8px; background: #fffbeb; border: 1px solid #fde68a;
  white-space: pre-wrap; }
.notice.bad { background: #fef2f2; border-color: #fecaca; }
ul.statuses { list-style: none; margin: 0; padding: 0; font-size: 14px; color: var(--muted);
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 6px 24px; }
ul.statuses b { color: var(--ink); margin-right: 6px; font-weight: 600; }
ul.statuses li::before { content: ''; display: inline-block; width: 8px; height: 8px; border-radius: 50%;
  margin-right: 9px; background: #10b981; }
ul.statuses li.warn::before { background: #f59e0b; } ul.statuses li.error::before { background: #ef4444; }
ul.statuses li.stale::before { background: #94a3b8; }
pre { margin: 0; padding: 16px; border-radius: 8px; background: var(--night); color: #cbd5e1; overflow-x: auto;
  font: 13px/1.55 ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; }
@media (max-width: 820px) { .plot { min-width: 620px; } section { padding: 18px 16px; }
  tbody th { min-width: 130px; overflow-wrap: anywhere; }
  .cards { grid-template-columns: repeat(2, 1fr); } .split { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } section { break-inside: avoid; border: 0; } }
"""
