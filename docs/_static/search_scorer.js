// What the search lists first: pages before names of the code, and guides before decisions and the changelog.
var Scorer = {
  score: ([page, , , , score]) => score - (/^(docs\/decisions\/|CHANGELOG|docs\/reference\/)/.test(page) ? 6 : 0),
  objNameMatch: 9,
  objPartialMatch: 3,
  objPrio: { 0: 0, 1: 0, 2: 0 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
