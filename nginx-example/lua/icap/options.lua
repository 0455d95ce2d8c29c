--- What services say of themselves in OPTIONS (RFC 3507 §4.10), kept in each worker until the TTL ends or the ISTag
-- of an answer differs.

local lrucache = require "resty.lrucache"
local chunks = require "icap.chunks"
local heads = require "icap.heads"

local _M = {}

local known = assert(lrucache.new(200))

local TTL_DEFAULT_S = 60 -- RFC 3507 has none: "never expires"; Squid takes 60 s
local TTL_MAX_S = 3600
local BODY_MAX_BYTES = 65536
-- While one request asks anew, the others of this worker go on with what was known, for so long.
local REFRESH_S = 5

local function read(connection)
    local text, err = connection.reader:head(heads.MAX_BYTES)
    if not text then
        return nil, err
    end
    local start_line, fields = heads.parse(text)
    if not start_line then
        return nil, fields
    end
    local status = heads.status(start_line, "ICAP")
    if status ~= 200 then
        return nil, "answered with " .. heads.one_line(start_line)
    end
    -- Legal and pointless; what it says is not for us.
    if string.find(heads.get(fields, "encapsulated") or "", "opt-body", 1, true) then
        local left = BODY_MAX_BYTES
        local next_piece = chunks.decoder(connection.reader, BODY_MAX_BYTES)
        repeat
            local piece
            piece, err = next_piece()
            left = left - #(piece or "")
        until not piece or left < 0
        if err or left < 0 then
            return nil, err or "a body too large"
        end
    end
    connection.must_close = heads.list(fields, "connection")["close"]
    return fields
end

local function digits(value)
    return value and string.find(value, "^%d+$") and #value <= 9 and tonumber(value) or nil
end

local function ask(connection, service)
    local request = heads.build("OPTIONS " .. service.url .. " ICAP/1.0", {
        { "Host", service.host },
        { "User-Agent", "icapd-nginx" },
        { "Encapsulated", "null-body=0" },
    })
    local ok, err = connection:send(request)
    if not ok then
        return nil, err
    end
    local fields
    fields, err = read(connection)
    if not fields then
        return nil, err
    end
    local ttl_s = math.min(digits(heads.get(fields, "options-ttl")) or TTL_DEFAULT_S, TTL_MAX_S)
    return {
        istag = heads.get(fields, "istag"),
        expires_at = ngx.now() + math.max(1, ttl_s),
        methods = heads.list(fields, "methods"),
        allows_204 = heads.list(fields, "allow")["204"] or false,
        preview_bytes = digits(heads.get(fields, "preview")),
        preview_for = heads.list(fields, "transfer-preview"),
        complete_for = heads.list(fields, "transfer-complete"),
        ignore_for = heads.list(fields, "transfer-ignore"),
    }
end

--- The service's options: known ones, or asked for on this connection.
-- @return the options; or nil and an error.
function _M.get(connection, service)
    local options = known:get(service.name)
    local now = ngx.now()
    if options and now < options.expires_at then
        return options
    end
    if options and now < (options.refreshed_until or 0) then
        return options
    end
    if options then
        options.refreshed_until = now + REFRESH_S
    end
    local fresh, err = ask(connection, service)
    if not fresh then
        known:delete(service.name)
        return nil, "OPTIONS: " .. err
    end
    known:set(service.name, fresh)
    return fresh
end

--- An answer of the service had this ISTag: another one than we know means that its options may be others too.
function _M.note_istag(service, istag)
    local options = known:get(service.name)
    if options and istag and options.istag and options.istag ~= istag then
        known:delete(service.name)
    end
end

--- How much of a body the service wants to see first; nil: all of it at once.
--
-- Transfer-Ignore asks not to be sent such a body at all. It is sent whole: the extension is what a client wrote into
-- a URL, and what is not sent is not scanned.
-- @param extension of the URL's path, in lower case.
function _M.preview_bytes(options, extension)
    local preview_for = options.preview_for
    if not options.preview_bytes then
        return nil
    elseif preview_for[extension] then
        return options.preview_bytes
    end
    local is_elsewhere = options.complete_for[extension] or options.ignore_for[extension]
    return preview_for["*"] and not is_elsewhere and options.preview_bytes or nil
end

return _M
