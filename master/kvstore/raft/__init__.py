"""Raft as a state machine without I/O, clock or chance of its own.

Names and rules are those of the Raft paper ("In Search of an Understandable Consensus
Algorithm", extended version) and of Ongaro's dissertation; comments name the section.
"""
