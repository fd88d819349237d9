// The numbers of nf_tables, under the kernel's own names. No logic.
// Fixed by include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h

export const NETLINK_NETFILTER = 12;
export const NFPROTO_INET = 1;
export const NFPROTO_IPV4 = 2;
export const NFPROTO_IPV6 = 10;

const NFNL_SUBSYS_NFTABLES = 10;
export const SUBSYSTEM_NFTABLES = NFNL_SUBSYS_NFTABLES;
export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;
export const NFNLGRP_NFTABLES = 7;

/** nfnetlink message types: the subsystem in the upper byte. */
export const MSG = {
  newTable: (NFNL_SUBSYS_NFTABLES << 8) | 0,
  getTable: (NFNL_SUBSYS_NFTABLES << 8) | 1,
  delTable: (NFNL_SUBSYS_NFTABLES << 8) | 2,
  newChain: (NFNL_SUBSYS_NFTABLES << 8) | 3,
  getChain: (NFNL_SUBSYS_NFTABLES << 8) | 4,
  delChain: (NFNL_SUBSYS_NFTABLES << 8) | 5,
  newRule: (NFNL_SUBSYS_NFTABLES << 8) | 6,
  getRule: (NFNL_SUBSYS_NFTABLES << 8) | 7,
  newSet: (NFNL_SUBSYS_NFTABLES << 8) | 9,
  getSet: (NFNL_SUBSYS_NFTABLES << 8) | 10,
  newElements: (NFNL_SUBSYS_NFTABLES << 8) | 12,
  getElements: (NFNL_SUBSYS_NFTABLES << 8) | 13,
  delElements: (NFNL_SUBSYS_NFTABLES << 8) | 14,
  newGeneration: (NFNL_SUBSYS_NFTABLES << 8) | 15,
  getGeneration: (NFNL_SUBSYS_NFTABLES << 8) | 16,
  newObject: (NFNL_SUBSYS_NFTABLES << 8) | 18,
  getObject: (NFNL_SUBSYS_NFTABLES << 8) | 19,
} as const;

export const NFTA_TABLE = { NAME: 1, FLAGS: 2, USE: 3, HANDLE: 4, OWNER: 7 } as const;
export const NFT_TABLE_F_OWNER = 0x2;
export const NFT_TABLE_F_PERSIST = 0x4;

export const NFTA_CHAIN = { TABLE: 1, HANDLE: 2, NAME: 3, HOOK: 4, POLICY: 5, USE: 6, TYPE: 7 } as const;
export const NFTA_HOOK = { HOOKNUM: 1, PRIORITY: 2 } as const;
export const NF_INET_PRE_ROUTING = 0;
export const NF_INET_LOCAL_IN = 1;
export const NF_IP_PRI_RAW = -300;
export const NF_IP_PRI_MANGLE = -150;

export const NFTA_RULE = { TABLE: 1, CHAIN: 2, HANDLE: 3, EXPRESSIONS: 4 } as const;

export const NFTA_SET = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DESC: 9,
  ID: 10,
  TIMEOUT: 11,
  USERDATA: 13,
  EXPR: 17,
} as const;
export const NFTA_SET_DESC_SIZE = 1;
export const NFT_SET_TIMEOUT = 0x10;
export const NFT_SET_EVAL = 0x20;

export const NFTA_SET_ELEM_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
export const NFTA_SET_ELEM = { KEY: 1, TIMEOUT: 4, EXPIRATION: 5 } as const;

export const NFTA_OBJ = { TABLE: 1, NAME: 2, TYPE: 3, DATA: 4 } as const;
export const NFTA_COUNTER = { BYTES: 1, PACKETS: 2 } as const;
export const NFT_OBJECT_COUNTER = 1;

export const NFTA_LIST_ELEM = 1;
export const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
export const NFTA_IMMEDIATE_DATA = 2;
export const NFTA_TARGET_NAME = 1;
export const NFTA_VERDICT = { CODE: 1, CHAIN: 2 } as const;
export const NFT_JUMP = -3;
export const NFT_GOTO = -4;
export const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
