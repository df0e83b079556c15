;; itself
;; Not a policy, with names that would control a terminal.
(component
  (core module
    (import "\1b[2J" "\e2\80\ae" (func))
    (func (export "\1b]0;title\07")))
  (@producers (sdk "\1b[31mred" "\c2\9b")))
