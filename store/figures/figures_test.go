package figures_test

import (
	"testing"
	"time"

	"facescan/store/figures"
)

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{figures.Count(0), "0"}, {figures.Count(999), "999"}, {figures.Count(1000), "1,000"},
		{figures.Count(-123456), "-123,456"}, {figures.Count(1234567), "1,234,567"},
		{figures.About(0), "0"}, {figures.About(9999), "9999"}, {figures.About(10_000), "10 thousand"},
		{figures.About(12345), "12.3 thousand"}, {figures.About(999_000), "999 thousand"},
		{figures.About(1e6), "1 million"}, {figures.About(999e6), "999 million"}, {figures.About(1e9),
			"1 billion"},
		{figures.About(999_499), "999 thousand"}, {figures.About(999_500), "1 million"},
		{figures.About(999_499_999), "999 million"}, {figures.About(999_500_000), "1 billion"},
		{figures.About(2e12), "2000 billion"}, {figures.About(1_234_000), "1.23 million"},
		{figures.Percent(1, 0), "–"}, {figures.Percent(0, 5), "0 %"}, {figures.Percent(1, 5000), "< 0.1 %"},
		{figures.Percent(4999, 5000), "> 99.9 %"}, {figures.Percent(5, 5), "100 %"},
		{figures.Percent(1, 3), "33.3 %"}, {figures.Percent(0, 1), "0 %"}, {figures.Percent(1, 1), "100 %"},
		{figures.Percent(1, 1000), "0.1 %"}, {figures.Percent(999, 1000), "99.9 %"}, {figures.Percent(7, -1),
			"–"},
		{figures.Bytes(0), "0 B"}, {figures.Bytes(1023), "1023 B"}, {figures.Bytes(1536), "1.5 KiB"},
		{figures.Bytes(94 << 20), "94 MiB"}, {figures.Bytes(5 << 50), "5120 TiB"},
		{figures.Flag(3 << 29), "1.5GiB"}, {figures.Bytes(1024), "1 KiB"}, {figures.Decimal(1000), "1 kB"},
		{figures.Decimal(0), "0 B"}, {figures.Decimal(999), "999 B"}, {figures.Decimal(1234), "1.23 kB"},
		{figures.Decimal(999_499), "999 kB"}, {figures.Decimal(999_500), "1 MB"},
		{figures.Decimal(1e15), "1000 TB"}, {figures.Decimal(999.5e12), "1000 TB"},
		{figures.Decimal(999.4e12), "999 TB"}, {figures.Decimal(0.4), "0 B"},
		{figures.Bytes(1023 << 10), "1023 KiB"}, {figures.Bytes(1<<20 - 103), "1023.9 KiB"},
		{figures.Bytes(1<<20 - 51), "1 MiB"}, {figures.Bytes(1<<20 - 1), "1 MiB"},
		{figures.Decimal(94_539_000), "94.5 MB"}, {figures.Decimal(5e15), "5000 TB"},
		{figures.Rate(1234.56), "1234.6/s"},
		{figures.Span(0), "0s"}, {figures.Span(1500 * time.Microsecond), "2ms"},
		{figures.Span(999 * time.Millisecond), "999ms"}, {figures.Span(time.Second), "1s"},
		{figures.Span(61_400 * time.Millisecond), "1m1s"}, {figures.Span(time.Hour), "1.0 hours"},
		{figures.Span(90 * time.Minute), "1.5 hours"}, {figures.Span(47 * time.Hour), "47.0 hours"},
		{figures.Span(48 * time.Hour), "2.0 days"}, {figures.Span(60 * time.Hour), "2.5 days"},
		{figures.Of(0, "face"), "0 faces"}, {figures.Of(1, "face"), "1 face"},
		{figures.Of(int64(2), "row"), "2 rows"}, {figures.Be(1), "is"}, {figures.Be(2), "are"},
		{figures.Are(1, "row"), "1 row is"}, {figures.Are(0, "row"), "0 rows are"},
		{figures.Word(1, "pending row"), "pending row"}, {figures.Word(11, "pending row"), "pending rows"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
