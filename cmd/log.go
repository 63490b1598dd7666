package cmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// textHandler writes log records as a person reads them: "facescan: warning: message key=value".
type textHandler struct {
	w     io.Writer
	level slog.Level
	attrs string
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("facescan: ")
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	case r.Level < slog.LevelInfo:
		b.WriteString("debug: ")
	}
	b.WriteString(printable(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, a)
		return true
	})
	b.WriteByte('\n')
	// one write a record, so that lines of several goroutines stay whole
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *textHandler) WithAttrs(as []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range as {
		writeAttr(&b, a)
	}
	return &textHandler{h.w, h.level, b.String()}
}

func (h *textHandler) WithGroup(string) slog.Handler { return h }

// newJSONHandler writes log records as one JSON object per line.
func newJSONHandler(w io.Writer, level slog.Level) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch v := a.Value.Any().(type) {
			case slog.Level:
				if v < slog.LevelDebug {
					a.Value = slog.StringValue("TRACE")
				}
			case time.Duration:
				a.Value = slog.StringValue(v.String())
			}
			return a
		}})
}

func writeAttr(b *strings.Builder, a slog.Attr) {
	v := a.Value.String()
	if err, ok := a.Value.Any().(error); ok {
		v = plainText(err)
	}
	if strings.ContainsAny(v, " \"") || !isPrintable(v, "") {
		v = `"` + printable(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)) + `"`
	}
	fmt.Fprintf(b, " %s=%s", a.Key, v)
}
