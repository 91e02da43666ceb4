"""How the page looks, by day and by night. Text keeps a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3), in both."""

STYLE = """
:root{--back:#ffffff;--text:#1b1f24;--soft:#57606a;--line:#d0d7de;--card:#f6f8fa;--good:#116329;--bad:#a40e26;
--unknown:#7d4e00;--c0:#0550ae;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#6e7781}
@media (prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#151b23;
--good:#3fb950;--bad:#ff7b72;--unknown:#d29922;--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#f778ba;
--c5:#8b949e}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--back);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.25rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1.2rem 0 0}
p{margin:.4rem 0}header p,footer p,caption{color:var(--soft)}
header .verdict{color:inherit;border-left:.35rem solid;padding:.4rem .8rem;background:var(--card)}
.verdict.good{border-color:var(--good)}.verdict.bad{border-color:var(--bad)}.verdict.unknown{border-color:var(--unknown)}
.verdict:first-of-type strong{font-size:1.3rem}
.good strong,b.good{color:var(--good)}.bad strong,b.bad{color:var(--bad)}.unknown strong,b.unknown{color:var(--unknown)}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}nav a{color:inherit;padding:.3rem 0}
dl{margin:.5rem 0}dt{color:var(--soft)}dd{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));gap:.5rem}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.4rem .6rem;display:flex;
flex-direction:column;justify-content:space-between}
.tiles dt{font-size:.85rem;line-height:1.3}.tiles dd{font-size:1.35rem;font-variant-numeric:tabular-nums}
.findings{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem}
th,td{padding:.25rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child{text-align:left;white-space:normal;min-width:12rem;padding-left:0}
thead th{color:var(--soft);font-weight:600}tbody th{font-weight:400}.nil{color:var(--soft)}
.key{display:inline-block;width:.75rem;height:.75rem;margin-right:.5rem;border-radius:2px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.axis{stroke:var(--line)}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem;white-space:pre-wrap;
margin:.4rem 0}
@media (max-width:34rem){svg text{font-size:21px}.findings{grid-template-columns:1fr;gap:0}
.findings dd{margin-bottom:.6rem}}
@media print{body{max-width:none}nav{display:none}.wide{overflow:visible}}
""".replace("\n", "")
