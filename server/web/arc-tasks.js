// arc-tasks.js - small tasks in the manner of the Abstraction and Reasoning Corpus, made for this page.

const rows = (...lines) => lines.map((line) => [...line].map(Number));

// Each with the answer to its test.
export const TASKS = {
  Mirror: {
    train: [
      { input: rows("120", "003", "400"), output: rows("021", "300", "004") },
      { input: rows("0550", "0600", "7000"), output: rows("0550", "0060", "0007") },
      { input: rows("81", "08"), output: rows("18", "80") },
    ],
    test: [{ input: rows("2003", "0240", "1111", "0500"), output: rows("3002", "0420", "1111", "0050") }],
  },
  Recolour: {
    train: [
      { input: rows("0110", "1001", "0110"), output: rows("0220", "2002", "0220") },
      { input: rows("10001", "01010", "00100"), output: rows("20002", "02020", "00200") },
      { input: rows("111", "010"), output: rows("222", "020") },
    ],
    test: [{ input: rows("1010", "0101", "1010", "0101"), output: rows("2020", "0202", "2020", "0202") }],
  },
  Fall: {
    train: [
      { input: rows("0300", "0000", "0040", "0000"), output: rows("0000", "0000", "0000", "0340") },
      { input: rows("606", "000", "006"), output: rows("000", "006", "606") },
      { input: rows("10200", "00000", "00002"), output: rows("00000", "00000", "10202") },
    ],
    test: [{ input: rows("80080", "00000", "08000", "00000", "80000"),
      output: rows("00000", "00000", "00000", "80000", "88080") }],
  },
  Fill: {
    train: [
      { input: rows("33330", "30030", "30030", "33330"), output: rows("33330", "34430", "34430", "33330") },
      { input: rows("00000", "03330", "03030", "03330", "00000"), output: rows("00000", "03330", "03430", "03330", "00000") },
      { input: rows("3333333", "3000003", "3333333"), output: rows("3333333", "3444443", "3333333") },
    ],
    test: [{ input: rows("333000", "303000", "333333", "003003", "003003", "003333"),
      output: rows("333000", "343000", "333333", "003443", "003443", "003333") }],
  },
};
