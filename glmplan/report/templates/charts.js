"use strict";
// Draws every chart from the JSON beside it. Colours of text and lines are the style sheet's business.
(function () {
  const charts = Array.from(document.querySelectorAll(".chart"));
  const options = { responsive: true, displayModeBar: false, displaylogo: false, showTips: false };

  for (const chart of charts) {
    const figure = JSON.parse(document.getElementById(chart.id + "-data").textContent);
    Plotly.newPlot(chart, figure.data, figure.layout, options);
  }

  // Paper is narrower than most screens, and nobody can open a table on it.
  const paperWidth = 660;
  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (details) { details.open = true; });
    charts.forEach(function (chart) { Plotly.relayout(chart, { width: paperWidth }); });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (details) { details.open = false; });
    charts.forEach(function (chart) { Plotly.relayout(chart, { width: null, autosize: true }); });
  });
})();
