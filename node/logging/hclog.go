// Package logging lets libraries that know other loggers write to log/slog.
package logging

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Hashi is an hclog.Logger that writes to l. Whom it is from, and with what,
// is for l to say: names and levels given later do not change it.
func Hashi(l *slog.Logger) hclog.Logger {
	intercept := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Debug, Output: io.Discard})
	intercept.RegisterSink(sink{l})
	return intercept
}

type sink struct{ l *slog.Logger }

func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	if level == hclog.Trace {
		return // one line per message on the wire
	}
	s.l.Log(context.Background(), slogLevel(level), message, args...)
}

func slogLevel(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Error:
		return slog.LevelError
	case level == hclog.Warn:
		return slog.LevelWarn
	case level == hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Standard is a log.Logger that writes to l, and reads the level from the
// "[WARN]" with which HashiCorp's older libraries begin a line.
func Standard(l *slog.Logger) *log.Logger { return log.New(lines{l}, "", 0) }

type lines struct{ l *slog.Logger }

func (w lines) Write(line []byte) (int, error) {
	level, message := slog.LevelDebug, strings.TrimSpace(string(line))
	if tag, rest, ok := strings.Cut(message, "] "); ok && strings.HasPrefix(tag, "[") {
		level, message = slogLevel(hclog.LevelFromString(expand(tag[1:]))), rest
	}
	w.l.Log(context.Background(), level, message)
	return len(line), nil
}

func expand(tag string) string {
	if tag == "ERR" {
		return "ERROR"
	}
	return tag
}
