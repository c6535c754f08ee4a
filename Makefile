# For packagers: everything is done by install.sh and release/build.
PREFIX = /usr/local

all:
	go build ./...

install:
	./install.sh --prefix $(PREFIX)

uninstall:
	./install.sh --uninstall --prefix $(PREFIX)

packages:
	./release/build

check:
	./test/run

.PHONY: all install uninstall packages check
